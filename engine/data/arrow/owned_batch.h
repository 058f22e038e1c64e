#pragma once
// Arrow arrays that are made here, to be read through the C data interface. They own their buffers and are not
// released: they live as long as the object.
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "data/arrow/abi.h"

namespace stoker::data {

class OwnedArray {
 public:
  OwnedArray(std::string name, std::string format);
  OwnedArray(const OwnedArray&) = delete;
  OwnedArray& operator=(const OwnedArray&) = delete;

  /// Room for `count` values in the next buffer, without a value yet.
  template <typename T>
  T* add_buffer(int64_t count) {
    return reinterpret_cast<T*>(add_bytes(count * sizeof(T)));
  }
  /// The first buffer; `valid` has one entry a value, and none at all where no value is null.
  void add_validity(const std::vector<bool>& valid);
  OwnedArray& add_child(std::string name, std::string format);
  /// To be called when all buffers and children are there.
  void finish(int64_t length);

  const ArrowArray& array() const { return array_; }
  const ArrowSchema& schema() const { return schema_; }

 private:
  std::byte* add_bytes(size_t bytes);

  std::string name_, format_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
  std::vector<const void*> buffers_;
  std::vector<std::unique_ptr<OwnedArray>> children_;
  std::vector<ArrowArray*> child_arrays_;
  std::vector<ArrowSchema*> child_schemas_;
  ArrowArray array_{};
  ArrowSchema schema_{};
};

}  // namespace stoker::data
