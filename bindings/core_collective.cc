// engine/collective for Python: only the listeners, which a task opens before it says hello.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "bindings/bindings.h"
#include "collective/group.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace stoker {

void bind_collective(nb::module_& m) {
  using collective::Listeners;
  nb::class_<Listeners>(m, "Listeners", "Listening ends for a worker's peers; handed to train().")
      .def(nb::init<const std::string&>(), "bind_host"_a)
      .def_prop_ro("port", &Listeners::port)
      .def_prop_ro("unix_name", &Listeners::unix_name);
}

}  // namespace stoker
