#include "base/level.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

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

std::string cpu_name() {
#if defined(__x86_64__)
  std::array<unsigned, 12> words{};  // CPUID's brand string
  for (unsigned i = 0; i < 3; ++i)
    __get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
  std::string text(reinterpret_cast<const char*>(words.data()), sizeof words);
  text.resize(std::strlen(text.c_str()));
  const size_t begin = text.find_first_not_of(' ');
  if (begin != std::string::npos) return text.substr(begin, text.find_last_not_of(' ') + 1 - begin);
#endif
  return "an unknown CPU";
}

}  // namespace stoker
