{
  "targets": [
    {
      "target_name": "nokmod_shared",
      "sources": ["shared_memory.cc"],
      "include_dirs": ["<!(node -e \"require('nan')\")"],
      "cflags": ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-cast-function-type", "-Werror=return-type"],
      "cflags_cc": ["-O2", "-fvisibility=hidden"],
    },
  ],
}
