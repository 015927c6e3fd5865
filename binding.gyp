# What a plain `npm install` builds. The sources are listed once, in native/sources.txt, for this file and CMakeLists.txt.
{
  "targets": [
    {
      "target_name": "nokmod_native",
      "sources": ["<!@(cat native/sources.txt)"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")", "native/src"],
      "defines": ["NAPI_VERSION=8", "NAPI_CPP_EXCEPTIONS"],
      "cflags": ["-Wall", "-Wextra", "-Werror=return-type"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-O3", "-std=gnu++17"],
      "cflags_cc": ["-std=c++17", "-O2", "-fexceptions", "-fvisibility=hidden"],
    },
    {
      # libnokmod-preload.so, which `nokmod exec` puts in front of the C library. No part of Node's.
      "target_name": "nokmod-preload",
      "type": "shared_library",
      "product_prefix": "lib",
      "product_dir": "<(PRODUCT_DIR)",
      "sources": ["<!@(cat native/preload/sources.txt)"],
      "cflags!": ["-O3"],
      "cflags": ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-fPIC", "-fvisibility=hidden"],
      "ldflags": ["-Wl,--as-needed"],
    },
    {
      # nokmod-seccomp, which `nokmod exec` puts in front of static programs. No part of Node's.
      "target_name": "nokmod-seccomp",
      "type": "executable",
      "sources": ["<!@(cat native/seccomp/sources.txt)"],
      "cflags!": ["-O3"],
      "cflags": ["-O2", "-Wall", "-Wextra"],
      "cflags_c": ["-std=gnu11"],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-O3", "-std=gnu++17"],
      "cflags_cc": ["-std=c++17", "-fexceptions"],
      "ldflags!": ["-rdynamic"],
    },
    {
      # The unit that Node-API cannot do. It is optional: its own build may fail without failing this one.
      "target_name": "nokmod_shared",
      "type": "none",
      "actions": [
        {
          "action_name": "build_shared_unit",
          "inputs": ["native/nan/shared_memory.cc", "native/nan/binding.gyp", "native/nan/build.cjs"],
          "outputs": ["<(PRODUCT_DIR)/nokmod_shared.stamp"],
          "action": ["node", "native/nan/build.cjs", "<(nodedir)", "<(PRODUCT_DIR)"],
        }
      ],
    },
  ],
}
