#include "base/library.h"

#include <dlfcn.h>

#include "base/error.h"

namespace stoker {

void load_library(const std::string& path) {
  if (!::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) fail_world(::dlerror());
}

}  // namespace stoker
