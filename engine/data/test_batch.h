#pragma once
// Arrow batches made by hand, for tests.
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/arrow/abi.h"

namespace stoker::data::testing {

/// A message of the column store without what it says of every bad row.
inline std::string without_row_cure(std::string message) {
  constexpr std::string_view cure = "; onBadRow='skip' leaves such rows out";
  if (message.ends_with(cure)) message.resize(message.size() - cure.size());
  return message;
}

/// One array with its schema; owns everything below it.
struct Column {
  ArrowArray array{};
  ArrowSchema schema{};
  std::string name, format;
  std::deque<std::vector<std::byte>> memory;
  std::vector<const void*> buffers;
  std::vector<std::unique_ptr<Column>> children;
  std::unique_ptr<Column> dictionary;
  std::vector<ArrowArray*> child_arrays;
  std::vector<ArrowSchema*> child_schemas;

  template <typename T>
  void add_buffer(const std::vector<T>& values) {
    auto& bytes = memory.emplace_back(values.size() * sizeof(T));  // no byte more: sanitizers see who reads on
    if (!values.empty()) std::memcpy(bytes.data(), values.data(), values.size() * sizeof(T));
    buffers.push_back(bytes.data());
  }
  void finish(int64_t length, int64_t offset) {
    for (auto& child : children) {
      child_arrays.push_back(&child->array);
      child_schemas.push_back(&child->schema);
    }
    array.length = length;
    array.offset = offset;
    array.n_buffers = static_cast<int64_t>(buffers.size());
    array.buffers = buffers.data();
    array.n_children = schema.n_children = static_cast<int64_t>(children.size());
    array.children = child_arrays.data();
    schema.children = child_schemas.data();
    array.dictionary = dictionary ? &dictionary->array : nullptr;
    schema.dictionary = dictionary ? &dictionary->schema : nullptr;
    schema.format = format.c_str();
    schema.name = name.c_str();
  }
};
using ColumnPtr = std::unique_ptr<Column>;

inline void add_validity(Column& column, const std::vector<int64_t>& nulls, int64_t size) {
  if (nulls.empty()) {
    column.buffers.push_back(nullptr);
    return;
  }
  std::vector<uint8_t> bits(size / 8 + 1, 0xff);
  for (const int64_t i : nulls) bits[i / 8] &= static_cast<uint8_t>(~(1 << (i % 8)));
  column.add_buffer(bits);
  column.array.null_count = -1;
}

/// A flat column; `nulls` are physical positions, the first `offset` values are skipped.
template <typename T>
ColumnPtr numbers(const std::string& name, const std::string& format, const std::vector<T>& values,
                  const std::vector<int64_t>& nulls = {}, int64_t offset = 0) {
  auto column = std::make_unique<Column>();
  column->name = name;
  column->format = format;
  add_validity(*column, nulls, static_cast<int64_t>(values.size()));
  column->add_buffer(values);
  column->finish(static_cast<int64_t>(values.size()) - offset, offset);
  return column;
}

/// A column of text; `nulls` as in numbers().
inline ColumnPtr words(const std::string& name, const std::vector<std::string>& values,
                       const std::vector<int64_t>& nulls = {}, int64_t skip = 0) {
  auto column = std::make_unique<Column>();
  column->name = name;
  column->format = "u";
  add_validity(*column, nulls, static_cast<int64_t>(values.size()));
  std::vector<int32_t> offsets{0};
  std::vector<char> bytes;
  for (const auto& value : values) {
    bytes.insert(bytes.end(), value.begin(), value.end());
    offsets.push_back(static_cast<int32_t>(bytes.size()));
  }
  column->add_buffer(offsets);
  column->add_buffer(bytes);
  column->finish(static_cast<int64_t>(values.size()) - skip, skip);
  return column;
}

/// A column of lists; O is int32_t for "+l", int64_t for "+L".
template <typename O = int32_t>
ColumnPtr lists(const std::string& name, const std::vector<O>& offsets, ColumnPtr child,
                const std::vector<int64_t>& nulls = {}, int64_t offset = 0) {
  auto column = std::make_unique<Column>();
  column->name = name;
  column->format = sizeof(O) == 4 ? "+l" : "+L";
  const auto length = static_cast<int64_t>(offsets.size()) - 1;
  add_validity(*column, nulls, length);
  column->add_buffer(offsets);
  column->children.push_back(std::move(child));
  column->finish(length - offset, offset);
  return column;
}

inline ColumnPtr fixed_lists(const std::string& name, int size, int64_t length, ColumnPtr child, int64_t offset = 0) {
  auto column = std::make_unique<Column>();
  column->name = name;
  column->format = "+w:" + std::to_string(size);
  column->buffers.push_back(nullptr);
  column->children.push_back(std::move(child));
  column->finish(length - offset, offset);
  return column;
}

/// A record batch of the columns, from `offset` on.
template <typename... Columns>
ColumnPtr batch(int64_t rows, int64_t offset, Columns... columns) {
  auto whole = std::make_unique<Column>();
  whole->format = "+s";
  whole->buffers.push_back(nullptr);
  (whole->children.push_back(std::move(columns)), ...);
  whole->finish(rows, offset);
  return whole;
}

}  // namespace stoker::data::testing
