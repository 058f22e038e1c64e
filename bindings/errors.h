#pragma once
// The engine's errors as Python exceptions: the classes of stoker.errors, which stoker._core names too. nanobind's
// translators serve every module of the domain "stoker", so that another module, once it has imported stoker._core,
// raises the same classes.
#include <nanobind/nanobind.h>

#include "base/error.h"

namespace stoker {

/// Translates Error to Python's classes from now on. `m` is stoker._core.
inline void register_errors(nanobind::module_& m) {
  namespace nb = nanobind;
  static constexpr const char* kNames[] = {"UserError", "WorldError", "AbortedError", "BugError"};  // by ErrorKind
  const nb::object errors = nb::module_::import_("stoker.errors");
  for (const char* name : kNames) m.attr(name) = errors.attr(name);

  nb::register_exception_translator(
      [](const std::exception_ptr& thrown, void* module) {
        try {
          std::rethrow_exception(thrown);
        } catch (const Error& error) {
          const nb::object type =
              nb::handle(static_cast<PyObject*>(module)).attr(kNames[static_cast<int>(error.kind())]);
          PyErr_SetString(type.ptr(), error.what());
        }
      },
      m.ptr());
}

}  // namespace stoker
