// Uint8Arrays of JavaScript as memory.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>

/// The bytes of a Uint8Array argument; nullptr and 0 when it is absent.
struct Bytes {
  uint8_t* data = nullptr;
  size_t size = 0;
  explicit Bytes(const Napi::Value& value) {
    if (!value.IsTypedArray()) return;
    Napi::Uint8Array array = value.As<Napi::Uint8Array>();
    data = array.Data();
    size = array.ByteLength();
  }
};

/// A Uint8Array that is never detached, and where it lies: to ask for that takes as long as to send a packet.
struct Buffer {
  uint8_t* data = nullptr;
  size_t size = 0;
  void Hold(const Napi::Value& value) {
    array_ = Napi::Persistent(value.As<Napi::Uint8Array>());
    data = array_.Value().Data();
    size = array_.Value().ByteLength();
  }

 private:
  Napi::Reference<Napi::Uint8Array> array_;
};
