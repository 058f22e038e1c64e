// engine/shm/memory.h and engine/base/freed_memory.h for Python.
#include "base/freed_memory.h"
#include "bindings/bindings.h"
#include "shm/memory.h"

namespace nb = nanobind;

namespace stoker {

void bind_memory(nb::module_& m) {
  m.def("available_memory", [] { return shm::available_memory(); });
  m.def(
      "give_back_freed_memory", [] { give_back_freed_memory(); }, "What malloc keeps goes back to the kernel.");
}

}  // namespace stoker
