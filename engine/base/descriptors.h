#pragma once
// Open files of this process: each link and each peer takes one. Any thread.
#include <cstddef>
#include <string>

namespace stoker {

/// Sees to it that so many more can be opened, by raising the soft limit as far as the hard one lets it. Throws
/// Error(user), which begins with `what`, where that is too low.
void need_descriptors(size_t more, const std::string& what);

}  // namespace stoker
