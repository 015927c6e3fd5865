// The addon's entry. One .cc file per unit, listed in native/sources.txt; each exports what it has in its Init function.
// Nothing here or below keeps state in globals, so that every worker thread may load the addon.

#include <napi.h>

void InitKeptMemory(Napi::Env env, Napi::Object exports);
void InitNetns(Napi::Env env, Napi::Object exports);
void InitPacketIo(Napi::Env env, Napi::Object exports);
void InitSeqpacket(Napi::Env env, Napi::Object exports);

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  InitKeptMemory(env, exports);
  InitNetns(env, exports);
  InitPacketIo(env, exports);
  InitSeqpacket(env, exports);
  return exports;
}

NODE_API_MODULE(nokmod_native, Init)
