// SharedArrayBuffer over memory that the program mapped itself, for worker threads that read packet rings or tables. V8 can make
// one, Node-API of Node 20 cannot, hence nan. The unit is optional: src/native/shared-memory.ts makes a copy without it.

#include <nan.h>

#include <memory>

namespace {

// share(buffer: ArrayBuffer): SharedArrayBuffer
//
// Returns the same bytes, not a copy. The ArrayBuffer's backing store, and with it the mapping, lives as long as any thread has
// a view, with one exception: when the thread that made the ArrayBuffer ends, Node unmaps its memory. That thread must be the
// last to end.
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
