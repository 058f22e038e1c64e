#include "data/arrow/owned_batch.h"

#include <algorithm>
#include <utility>

namespace stoker::data {

OwnedArray::OwnedArray(std::string name, std::string format) : name_(std::move(name)), format_(std::move(format)) {
  schema_.name = name_.c_str();
  schema_.format = format_.c_str();
}

std::byte* OwnedArray::add_bytes(size_t bytes) {
  auto& added = memory_.emplace_back(std::make_unique_for_overwrite<std::byte[]>(std::max<size_t>(bytes, 1)));
  buffers_.push_back(added.get());
  return added.get();
}

void OwnedArray::add_validity(const std::vector<bool>& valid) {
  array_.null_count = std::count(valid.begin(), valid.end(), false);
  if (array_.null_count == 0) {
    buffers_.push_back(nullptr);
    return;
  }
  auto* bits = add_buffer<uint8_t>(static_cast<int64_t>(valid.size() / 8 + 1));
  std::fill_n(bits, valid.size() / 8 + 1, uint8_t{0});
  for (size_t i = 0; i < valid.size(); ++i) bits[i / 8] |= static_cast<uint8_t>(valid[i] << (i % 8));
}

OwnedArray& OwnedArray::add_child(std::string name, std::string format) {
  return *children_.emplace_back(std::make_unique<OwnedArray>(std::move(name), std::move(format)));
}

void OwnedArray::finish(int64_t length) {
  for (const auto& child : children_) {
    child_arrays_.push_back(&child->array_);
    child_schemas_.push_back(&child->schema_);
  }
  array_.length = length;
  array_.n_buffers = static_cast<int64_t>(buffers_.size());
  array_.buffers = buffers_.data();
  array_.n_children = schema_.n_children = static_cast<int64_t>(children_.size());
  array_.children = child_arrays_.data();
  schema_.children = child_schemas_.data();
}

}  // namespace stoker::data
