#pragma once
// Shared libraries that are loaded while the program runs.
#include <string>

namespace stoker {

/// Loads a library for as long as the process lives, its symbols for itself and those that name it. Throws Error(world)
/// with the loader's words. Any thread.
void load_library(const std::string& path);

}  // namespace stoker
