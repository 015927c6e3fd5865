// SharedArrayBuffer over memory that the program mapped itself. Node-API cannot make one in Node 20, V8 can.

#include <nan.h>

NAN_MODULE_INIT(Init) { (void)target; }

NAN_MODULE_WORKER_ENABLED(nokmod_shared, Init)
