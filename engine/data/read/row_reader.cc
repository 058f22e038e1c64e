#include "data/read/row_reader.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "data/arrow/bits.h"
#include "data/arrow/layout.h"
#include "data/read/widen.h"

namespace stoker::data {
namespace {

constexpr int64_t kBlockRows = 1024;

std::string child_names(const ArrowSchema& schema) {
  std::string names;
  for (int64_t i = 0; i < schema.n_children; ++i) {
    const char* child = schema.children[i]->name;
    names += cat(i ? ", '" : "'", child ? child : "", "'");
  }
  return names;
}

}  // namespace

void check_batch(const ArrowArray& batch, const ArrowSchema& schema, int partition) {
  if (std::string_view(schema.format) != "+s") fail_bug("not a record batch: Arrow format '", schema.format, "'");
  STOKER_CHECK(batch.n_children == schema.n_children && batch.length >= 0 && batch.offset >= 0);
  if (has_nulls(batch)) fail_bug("a record batch has no null rows of its own");
  for (int64_t i = 0; i < schema.n_children; ++i) {
    const char* name = schema.children[i]->name ? schema.children[i]->name : "";
    const std::string fault = layout_fault(*schema.children[i], *batch.children[i]);
    if (!fault.empty()) fail_layout(partition, name, fault);
    const int64_t have = batch.children[i]->length - batch.offset;
    if (have < batch.length) fail_layout(partition, name, cat("it has ", have, " of the ", batch.length, " rows"));
  }
}

int find_child(const ArrowSchema& schema, const std::string& name) {
  for (int64_t i = 0; i < schema.n_children; ++i) {
    const char* child = schema.children[i]->name;
    if (child != nullptr && name == child) return static_cast<int>(i);
  }
  return -1;
}

int child_of(const ArrowSchema& schema, const std::string& name, const std::string& shown, int partition) {
  const int child = find_child(schema, name);
  if (child >= 0) return child;
  fail_user("column '", shown, "' (sent as '", name, "') is missing in the rows of partition ", partition,
            ", which have ", child_names(schema));
}

RowReader::RowReader(std::vector<ColumnSpec> columns) : columns_(std::move(columns)), by_column_(columns_.size()) {
  for (size_t c = 0; c < columns_.size(); ++c) {
    ColumnSpec& column = columns_[c];
    STOKER_CHECK(column.elements() > 0);
    if (column.fields.empty()) column.fields.push_back(plain_field(column));
    int64_t at = 0;
    for (const FieldSpec& field : column.fields) {
      add(static_cast<int>(c), field, at);
      at += field.values();
    }
    if (at != column.elements()) {
      fail_bug("column '", column.shown, "' has rows of ", column.elements(), " values, its fields have ", at);
    }
  }
}

void RowReader::add(int column, FieldSpec field, int64_t at) {
  Slot& slot = slots_.emplace_back();
  slot.dense = dense_spec(columns_[column], field);
  slot.field = std::move(field);
  slot.column = column;
  slot.offset = stride_;
  slot.at = at;
  stride_ += slot.field.row_bytes();
  by_column_[column].push_back(&slot);
}

std::deque<FieldReader> RowReader::open(const ArrowArray& batch, const ArrowSchema& schema, Faults& faults) const {
  std::deque<FieldReader> readers;
  for (const Slot& slot : slots_) {
    const int child = child_of(schema, slot.field.column, slot.field.shown[0], faults.place().partition);
    readers.emplace_back(slot.field, slot.dense, *schema.children[child], *batch.children[child], batch.offset,
                         batch.length, faults);
  }
  return readers;
}

void RowReader::read(std::deque<FieldReader>& readers, int64_t begin, int64_t count, std::byte* out) const {
  for (size_t s = 0; s < slots_.size(); ++s) readers[s].read(begin, count, out + slots_[s].offset, stride_);
}

void RowReader::read_tensor(std::deque<FieldReader>& readers, int column, int64_t begin, int64_t count,
                            std::byte* out) const {
  const ColumnSpec& spec = columns_[column];
  std::vector<std::byte> stored;
  for (size_t s = 0; s < slots_.size(); ++s) {
    const Slot& slot = slots_[s];
    if (slot.column != column) continue;
    std::byte* to = out + slot.at * size_of(spec.dtype);
    if (is_same(slot.field, spec.dtype)) {
      readers[s].read(begin, count, to, spec.row_bytes());
      continue;
    }
    stored.resize(std::min(count, kBlockRows) * slot.field.row_bytes());
    for (int64_t i = 0; i < count; i += kBlockRows) {
      const int64_t n = std::min(kBlockRows, count - i);
      readers[s].read(begin + i, n, stored.data(), slot.field.row_bytes());
      widen(slot.field, stored.data(), slot.field.row_bytes(), nullptr, n, spec.dtype, to + i * spec.row_bytes(),
            spec.row_bytes());
    }
  }
}

}  // namespace stoker::data
