#pragma once
// A storage of checkpoints that is a Python object with put(name, pieces) and get(name), for file systems that only
// Python knows.
#include <nanobind/nanobind.h>

#include "bindings/bytes.h"
#include "checkpoint/storage.h"

namespace stoker {

/// Takes the GIL for each call. Made and destroyed by a thread that holds it.
class PythonStorage final : public checkpoint::Storage {
 public:
  explicit PythonStorage(nanobind::object storage) : storage_(std::move(storage)) {}

  void put(const std::string& name, std::span<const ByteView> pieces) override {
    const nanobind::gil_scoped_acquire acquired;
    translated([&] {
      nanobind::list views;
      for (const ByteView piece : pieces) views.append(memoryview(piece));
      storage_.attr("put")(name, views);
    });
  }

  Bytes get(const std::string& name) override {
    const nanobind::gil_scoped_acquire acquired;
    Bytes whole;
    translated([&] {
      const auto bytes = nanobind::cast<nanobind::bytes>(storage_.attr("get")(name));
      const ByteView held = view(bytes);
      whole.assign(held.begin(), held.end());
    });
    return whole;
  }

 private:
  /// Python's own memoryview: nothing is copied on the way.
  static nanobind::object memoryview(ByteView piece) {
    auto* data = const_cast<char*>(reinterpret_cast<const char*>(piece.data()));
    return nanobind::steal(PyMemoryView_FromMemory(data, static_cast<Py_ssize_t>(piece.size()), PyBUF_READ));
  }

  template <typename Body>
  static void translated(Body body) {
    try {
      body();
    } catch (const nanobind::python_error& error) {
      fail_world(nanobind::cast<std::string>(nanobind::str(error.value())));
    }
  }

  nanobind::object storage_;
};

}  // namespace stoker
