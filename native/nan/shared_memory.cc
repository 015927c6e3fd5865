// SharedArrayBuffer over memory that the program mapped itself: packet rings and tables for several threads at once.
// Node-API has no such thing in Node 20; V8 has. Optional: src/native/shared-memory.ts does without.

#include <nan.h>

#include <memory>

namespace {

// share(buffer: ArrayBuffer): SharedArrayBuffer
//
// The same bytes, not a copy. The ArrayBuffer's backing store, and with it the mapping behind, lives as long as any
// thread has a view. One exception is Node's: when the thread that made the ArrayBuffer ends, its mapping goes at once;
// so that thread must be the last to end.
NAN_METHOD(Share) {
  if (!info[0]->IsArrayBuffer()) return Nan::ThrowTypeError("an ArrayBuffer is wanted");
  using Store = std::shared_ptr<v8::BackingStore>;
  auto* store = new Store(info[0].As<v8::ArrayBuffer>()->GetBackingStore());
  auto shared = v8::SharedArrayBuffer::NewBackingStore(
      (*store)->Data(), (*store)->ByteLength(), [](void*, size_t, void* kept) { delete static_cast<Store*>(kept); }, store);
  info.GetReturnValue().Set(v8::SharedArrayBuffer::New(info.GetIsolate(), std::move(shared)));
}

NAN_MODULE_INIT(Init) { Nan::SetMethod(target, "share", Share); }

}  // namespace

NAN_MODULE_WORKER_ENABLED(nokmod_shared, Init)
