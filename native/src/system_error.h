// Errors of system calls as JavaScript errors.
#pragma once

#include <napi.h>
#include <uv.h>

#include <cerrno>
#include <cstring>
#include <string>

/// An Error with `errno` (positive), `code` ("EADDRINUSE") and a message "WHAT: REASON".
inline Napi::Error SystemError(Napi::Env env, int error, const std::string& what) {
  Napi::Error result = Napi::Error::New(env, what + ": " + std::strerror(error));
  result.Set("errno", Napi::Number::New(env, error));
  result.Set("code", Napi::String::New(env, uv_err_name(-error)));
  return result;
}
