#pragma once
// The engine's errors as Python exceptions: EngineError (a RuntimeError) and, below it, UserError (a ValueError too),
// WorldError, AbortedError and BugError. They live in stoker._core; nanobind's translators serve every module of the
// domain "stoker", so that another module, once it has imported stoker._core, raises the same classes.
#include <nanobind/nanobind.h>

#include "base/error.h"

namespace stoker {

/// Makes the classes in `m`, which is stoker._core, and translates Error to them from now on.
inline void register_errors(nanobind::module_& m) {
  namespace nb = nanobind;
  const auto make = [&](const char* name, const char* kind, const nb::object& bases) {
    const nb::object qualified = nb::str("stoker._core.{}").format(name);
    PyObject* made = PyErr_NewException(nb::cast<std::string>(qualified).c_str(), bases.ptr(), nullptr);
    if (made == nullptr) throw nb::python_error();
    m.attr(name) = nb::steal(made);
    m.attr(name).attr("kind") = kind;
  };
  make("EngineError", "bug", nb::borrow(PyExc_RuntimeError));
  const nb::object base = m.attr("EngineError");
  make("UserError", "user", nb::make_tuple(base, nb::borrow(PyExc_ValueError)));
  make("WorldError", "world", base);
  make("AbortedError", "aborted", base);
  make("BugError", "bug", base);

  nb::register_exception_translator(
      [](const std::exception_ptr& thrown, void* module) {
        try {
          std::rethrow_exception(thrown);
        } catch (const Error& error) {
          static constexpr const char* kNames[] = {"UserError", "WorldError", "AbortedError", "BugError"};
          const nb::object type =
              nb::handle(static_cast<PyObject*>(module)).attr(kNames[static_cast<int>(error.kind())]);
          PyErr_SetString(type.ptr(), error.what());
        }
      },
      m.ptr());
}

}  // namespace stoker
