#pragma once
// Instruction-set levels that kernels are built for. Levels change bits, so a gang agrees on the lowest before libtorch
// loads. The numbers travel on the wire and in models: never reuse one.
#include <string>
#include <string_view>

namespace stoker {

enum class Level : int { baseline = 0, avx2 = 1, avx512 = 2 };

/// "baseline", "avx2", "avx512"; a number that is no level is "unknown".
const char* name(Level level);
/// Throws Error(user) for any other text.
Level parse_level(std::string_view text);
/// The best level of this machine; STOKER_MAX_ISA in the environment lowers it (for tests).
Level best_level();
/// What this machine's CPU calls itself, like "AMD EPYC 7763 64-Core Processor".
std::string cpu_name();

}  // namespace stoker
