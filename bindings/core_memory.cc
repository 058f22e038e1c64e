// engine/shm/memory.h for Python.
#include "bindings/bindings.h"
#include "shm/memory.h"

namespace nb = nanobind;

namespace stoker {

void bind_memory(nb::module_& m) {
  m.def("available_memory", [] { return shm::available_memory(); });
}

}  // namespace stoker
