// Any bytes as the configuration of another proxy.
//
//   bazel build --config=fuzz //tests/fuzz:convert_fuzz
//   bazel-bin/tests/fuzz/convert_fuzz -max_total_time=60 tests/fuzz/convert
//
// What must hold: nothing crashes; what comes out is a flags file that is accepted, unless there is
// nothing in it to listen on; it says so if not all was carried over.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "config/convert/convert.h"
#include "config/load.h"
#include "tests/config/fake_files.h"

namespace parkway::config::convert {
namespace {

void Demand(bool holds, std::string_view what, const std::string& shown) {
  if (holds) return;
  fprintf(stderr, "%.*s: %s\n", static_cast<int>(what.size()), what.data(), shown.c_str());
  abort();
}

void Run(const std::string& bytes) {
  SystemFacts facts;
  facts.nofile_hard = 100000;
  for (const char* kind : {"haproxy", "nginx", "rinetd"}) {
    FakeFiles files({{"in", bytes}});
    const Result converted = Convert({kind, "in"}, facts, files);
    Demand(converted.exit_code == 0 || converted.exit_code == 1, "exit code", converted.text);
    const bool noted = converted.text.find("# not carried over: ") != std::string::npos;
    Demand(noted == (converted.exit_code == 1), "silent loss", converted.text);
    FakeFiles out({{"out", converted.text}});
    const LoadResult loaded = Load(std::vector<std::string>{"--check", "-c", "out"}, facts, out);
    const bool listens = converted.text.find("\n--listen=") != std::string::npos;
    Demand(loaded.errors.empty() || !listens, "it is refused", converted.text);
  }
}

}  // namespace
}  // namespace parkway::config::convert

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  parkway::config::convert::Run(std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
