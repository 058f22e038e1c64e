#pragma once
// A record batch through the Arrow PyCapsule protocol. The capsules release what they hold when they die: nothing is
// moved out of them. How long buffers are only pyarrow knows, so it is asked first whether they are long enough.
#include <nanobind/nanobind.h>

#include "data/arrow/abi.h"

namespace stoker {

struct ArrowCapsules {
  /// `batch` has __arrow_c_array__.
  explicit ArrowCapsules(nanobind::handle batch)
      : pair(nanobind::cast<nanobind::tuple>(checked(batch).attr("__arrow_c_array__")())) {}
  const ArrowSchema& schema() const { return contents<ArrowSchema>(0, "arrow_schema"); }
  const ArrowArray& array() const { return contents<ArrowArray>(1, "arrow_array"); }

 private:
  static nanobind::handle checked(nanobind::handle batch) {
    if (nanobind::hasattr(batch, "validate")) batch.attr("validate")();
    return batch;
  }
  template <typename T>
  const T& contents(int index, const char* name) const {
    void* held = PyCapsule_GetPointer(nanobind::object(pair[index]).ptr(), name);
    if (held == nullptr) throw nanobind::python_error();
    return *static_cast<const T*>(held);
  }

  nanobind::tuple pair;
};

}  // namespace stoker
