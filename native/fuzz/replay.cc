// Runs a harness on files, without libFuzzer: `replay FILE …`. Linked with any of them by test/unit/fuzz-corpus.test.ts.
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int count, char** names) {
  for (int i = 1; i < count; i++) {
    std::ifstream file(names[i], std::ios::binary);
    if (!file) {
      perror(names[i]);
      return 2;
    }
    const std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(file), {}};
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  return 0;
}
