#include <napi.h>

void InitSeqpacket(Napi::Env, Napi::Object) {}
