#include <napi.h>

void InitNetns(Napi::Env, Napi::Object) {}
