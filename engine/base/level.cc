#include "base/level.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"

namespace stoker {
namespace {

// The same features that ATen asks for before it takes its kernels of a level.
Level machine_level() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Level::baseline;
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return wide ? Level::avx512 : Level::avx2;
#else
  return Level::baseline;
#endif
}

}  // namespace

const char* name(Level level) {
  switch (level) {
    case Level::baseline:
      return "baseline";
    case Level::avx2:
      return "avx2";
    case Level::avx512:
      return "avx512";
  }
  return "unknown";
}

Level parse_level(std::string_view text) {
  for (const Level level : {Level::baseline, Level::avx2, Level::avx512}) {
    if (text == name(level)) return level;
  }
  fail_user("instruction-set level '", text, "' is unknown; there are baseline, avx2 and avx512");
}

Level best_level() {
  const char* limit = std::getenv("STOKER_MAX_ISA");
  return limit == nullptr ? machine_level() : std::min(machine_level(), parse_level(limit));
}

}  // namespace stoker
