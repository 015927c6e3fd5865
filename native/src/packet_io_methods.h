// What the methods of PacketIo share: arguments, errors, and a link as JavaScript sees it.
#pragma once

#include <napi.h>

#include <cerrno>
#include <new>
#include <string>
#include <system_error>

#include "rtnl.h"

namespace nokmod {

// An Error with that message and a positive `errno`.
inline Napi::Error ErrnoError(Napi::Env env, const char* message, int error) {
  Napi::Error result = Napi::Error::New(env, message);
  result.Set("errno", Napi::Number::New(env, error));
  return result;
}

// Returns what `body` returns. What it throws becomes a JavaScript Error with `errno`.
template <typename Body>
Napi::Value Guard(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const std::system_error& error) {
    throw ErrnoError(env, error.what(), error.code().value());
  } catch (const std::bad_alloc&) {
    throw ErrnoError(env, "out of memory", ENOMEM);
  }
}

// The argument as an int32, 0 if it is absent.
inline int32_t IntArgument(const Napi::CallbackInfo& info, size_t index) {
  return info.Length() > index ? info[index].ToNumber().Int32Value() : 0;
}

// The argument as a string, empty if it is absent.
inline std::string StringArgument(const Napi::CallbackInfo& info, size_t index) {
  return info.Length() > index ? info[index].ToString().Utf8Value() : std::string();
}

// Returns the link as `Link` of src/port/native/packet-io.ts.
Napi::Object LinkObject(Napi::Env env, const Link& link);

}  // namespace nokmod
