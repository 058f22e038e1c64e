// engine/base/library.h for Python.
#include <nanobind/stl/string.h>

#include "base/library.h"
#include "bindings/bindings.h"

namespace nb = nanobind;

namespace stoker {

void bind_library(nb::module_& m) {
  m.def("load_library", load_library, nb::arg("path"), nb::call_guard<nb::gil_scoped_release>(),
        "As ctypes.CDLL, but that other threads go on meanwhile.");
}

}  // namespace stoker
