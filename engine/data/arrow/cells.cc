#include "data/arrow/cells.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "data/arrow/bits.h"

namespace stoker::data {
namespace {

using Kind = Level::Kind;

/// `i` counts from the array's own offset.
bool is_valid(const ArrowArray& array, int64_t i) {
  return !has_nulls(array) || is_set(array.buffers[0], i + array.offset);
}

bool is_large(const Level& level) { return level.kind == Kind::large_list || level.kind == Kind::large_bytes; }

Range range_of(const Level& level, const ArrowArray& array, int64_t i) {
  const int64_t at = array.offset + i;
  if (level.kind == Kind::fixed) return {at * level.size, (at + 1) * level.size};
  return is_large(level) ? range_at<int64_t>(array.buffers[1], at) : range_at<int32_t>(array.buffers[1], at);
}

/// Values that the lists of an array lie in.
int64_t values_below(const Level& level, const ArrowArray& array) {
  if (!is_bytes(level)) return array.children[0]->length;
  return is_large(level) ? bytes_held<int64_t>(array) : bytes_held<int32_t>(array);
}

int64_t index_at(const void* values, Leaf type, int64_t i) {
  switch (type) {
    case Leaf::i8:
      return static_cast<const int8_t*>(values)[i];
    case Leaf::u8:
      return static_cast<const uint8_t*>(values)[i];
    case Leaf::i16:
      return static_cast<const int16_t*>(values)[i];
    case Leaf::u16:
      return static_cast<const uint16_t*>(values)[i];
    case Leaf::i32:
      return static_cast<const int32_t*>(values)[i];
    case Leaf::u32:
      return static_cast<const uint32_t*>(values)[i];
    default:
      return static_cast<const int64_t*>(values)[i];
  }
}

}  // namespace

Range LeafView::text_range(int64_t position) const {
  return type.leaf == Leaf::text ? range_at<int32_t>(offsets, position) : range_at<int64_t>(offsets, position);
}

std::string_view LeafView::text(int64_t position) const {
  const Range range = text_range(position);
  return {static_cast<const char*>(values) + range.begin, static_cast<size_t>(range.size())};
}

bool LeafView::bit(int64_t position) const { return is_set(values, position); }

Cells::Cells(const FieldSpec& field, const ArrowSchema& schema, const ArrowArray& array, int64_t first,
             const char* expected, Faults& faults)
    : field_(field), array_(array), first_(first), faults_(faults) {
  const auto is = [&](FieldSpec::Kind kind) { return field.kind == kind; };
  const bool text = is(FieldSpec::Kind::category) || is(FieldSpec::Kind::hash) || is(FieldSpec::Kind::text);
  const auto type = cell_type(schema, text ? Bytes::as_text : Bytes::as_numbers);
  const bool scalar = type && type->levels.empty();
  if (is(FieldSpec::Kind::present) && field.shape.empty() && !field.padded && !scalar) {
    leaf_.type.leaf = Leaf::boolean;
    whole_rows_ = true;
    return;
  }
  if (!type) fail_type(faults.place(), field.shown[0], spark_type(schema), expected);
  leaf_.type = *type;
  check_shape(schema, expected);
  if (array.length > 0) find_leaf(array);
}

void Cells::check_shape(const ArrowSchema& schema, const char* expected) const {
  const size_t levels = leaf_.type.levels.size();
  const bool flat = levels == 1 && !field_.shape.empty();
  const bool fits =
      field_.padded ? flat : levels == field_.shape.size() || flat || (levels == 0 && field_.cells() == 1);
  if (fits) return;
  std::string shape = field_.shape.empty() ? "" : " in an array";
  if (!field_.padded && !field_.shape.empty()) shape += cat(" of ", field_.cells());
  fail_type(faults_.place(), field_.shown[0], spark_type(schema), expected + shape);
}

void Cells::find_leaf(const ArrowArray& array) {
  const ArrowArray* at = &array;
  for (const Level& level : leaf_.type.levels) {
    if (is_bytes(level)) {
      leaf_.values = at->buffers[2];
      leaf_clean_ = true;
      return;
    }
    at = level.kind == Kind::vector ? at->children[3]->children[0] : at->children[0];
  }
  leaf_clean_ = !has_nulls(*at) && at->dictionary == nullptr;
  const ArrowArray& held = at->dictionary != nullptr ? *at->dictionary : *at;
  leaf_.values = held.buffers[leaf_.is_text() ? 2 : 1];
  if (!leaf_.is_text()) return;
  leaf_.offsets = held.buffers[1];
  leaf_.bytes = leaf_.type.leaf == Leaf::text ? bytes_held<int32_t>(held) : bytes_held<int64_t>(held);
}

int64_t Cells::wanted(size_t level) const {
  return leaf_.type.levels.size() == 1 ? field_.cells() : field_.shape[level];
}

/// Cells of one entry at a level.
int64_t Cells::below(size_t level) const {
  int64_t cells = field_.cells();
  for (size_t k = 0; k < level; ++k) cells /= wanted(k);
  return cells;
}

void Cells::locate(int64_t begin, int64_t count, std::vector<int64_t>& out) {
  out.resize(count * field_.cells());
  next_ = out.data();
  const bool flat = leaf_.type.levels.empty();
  if (flat && leaf_clean_) std::iota(out.begin(), out.end(), first_ + begin + array_.offset);
  for (int64_t i = 0; i < count && !(flat && leaf_clean_); ++i) {
    row_ = begin + i;
    flat ? walk_leaf(array_, first_ + row_) : walk(0, array_, first_ + row_);
  }
  if (leaf_.is_text()) check_texts(begin, out);
}

void Cells::check_texts(int64_t begin, std::vector<int64_t>& cells) {
  for (size_t i = 0; i < cells.size(); ++i) {
    row_ = begin + static_cast<int64_t>(i) / field_.cells();
    if (cells[i] >= 0 && !there(leaf_.text_range(cells[i]), leaf_.bytes)) cells[i] = kZero;
  }
}

/// Entry `i` of an array of lists.
void Cells::walk(size_t level, const ArrowArray& array, int64_t i) {
  if (!is_valid(array, i)) return emit(below(level), null_at(level));
  const Level& kind = leaf_.type.levels[level];
  if (kind.kind == Kind::vector) return walk_vector(array, i);
  const Range range = range_of(kind, array, i);
  if (!there(range, values_below(kind, array))) return emit(below(level), kZero);
  const int64_t have = range.size(), want = wanted(level);
  if (!field_.padded && !right_length(have, want)) return emit(below(level), kZero);
  const int64_t taken = std::min(have, want);
  walk_entries(level, array, range.begin, taken);
  emit((want - taken), kPadding);
}

int64_t Cells::null_at(size_t level) const {
  if (field_.padded && field_.fill_missing) return kPadding;  // as an empty list
  return level == 0 ? kNullRow : kNull;
}

void Cells::walk_entries(size_t level, const ArrowArray& array, int64_t begin, int64_t count) {
  const Level& kind = leaf_.type.levels[level];
  if (level + 1 == leaf_.type.levels.size()) {
    const bool bytes = is_bytes(kind);
    if (leaf_clean_) {
      std::iota(next_, next_ + count, begin + (bytes ? 0 : array.children[0]->offset));
      next_ += count;
    } else {
      for (int64_t i = 0; i < count; ++i) walk_leaf(*array.children[0], begin + i);
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i) walk(level + 1, *array.children[0], begin + i);
}

void Cells::walk_leaf(const ArrowArray& array, int64_t i) { emit(1, leaf_cell(array, i)); }

int64_t Cells::leaf_cell(const ArrowArray& array, int64_t i) {
  if (!is_valid(array, i)) return leaf_.type.levels.empty() ? kNullRow : kNull;
  if (array.dictionary == nullptr || whole_rows_) return i + array.offset;
  const ArrowArray& words = *array.dictionary;
  const int64_t entry = index_at(array.buffers[1], leaf_.type.index, i + array.offset);
  if (entry < 0 || entry >= words.length) {
    spoilt(cat("it is entry ", entry, " of a dictionary of ", words.length));
    return kZero;
  }
  return is_valid(words, entry) ? entry + words.offset : kNull;
}

/// Spark ML's vectors: struct<type: 0 for sparse, size, indices, values>; the indices ascend.
void Cells::walk_vector(const ArrowArray& array, int64_t i) {
  const int64_t at = i + array.offset;
  const ArrowArray &type = *array.children[0], &size = *array.children[1], &values = *array.children[3];
  const bool sparse = static_cast<const int8_t*>(type.buffers[1])[type.offset + at] == 0;
  if (!whole_vector(array, at, sparse)) return emit(field_.cells(), kZero);
  const Range held = range_at<int32_t>(values.buffers[1], values.offset + at);
  const int64_t have = sparse ? static_cast<const int32_t*>(size.buffers[1])[size.offset + at] : held.size();
  if (!right_length(have, field_.cells())) return emit(field_.cells(), kZero);
  if (sparse) return walk_sparse(*array.children[2], values, at);
  walk_entries(0, values, held.begin, have);
}

/// Whether all parts of a vector are there and its values lie among those of the batch.
bool Cells::whole_vector(const ArrowArray& array, int64_t at, bool sparse) {
  const auto missing = [&](int child) { return !is_valid(*array.children[child], at); };
  if (missing(0) || missing(3) || (sparse && (missing(1) || missing(2)))) {
    spoilt("a vector without type, size, indices or values");
    return false;
  }
  const auto inside = [&](const ArrowArray& lists) {
    return there(range_at<int32_t>(lists.buffers[1], lists.offset + at), lists.children[0]->length);
  };
  return inside(*array.children[3]) && (!sparse || inside(*array.children[2]));
}

void Cells::walk_sparse(const ArrowArray& indices, const ArrowArray& values, int64_t at) {
  const Range where = range_at<int32_t>(indices.buffers[1], indices.offset + at);
  const Range held = range_at<int32_t>(values.buffers[1], values.offset + at);
  int64_t* const row = next_;
  emit(field_.cells(), kZero);
  if (where.size() != held.size()) return spoilt(cat(where.size(), " indices for ", held.size(), " values"));
  const ArrowArray& entries = *indices.children[0];
  for (int64_t k = 0, last = -1; k < held.size(); ++k) {
    if (!is_valid(entries, where.begin + k)) return spoilt("a null among its indices");
    const int64_t index = static_cast<const int32_t*>(entries.buffers[1])[entries.offset + where.begin + k];
    if (index <= last || index >= field_.cells())
      return spoilt(
          cat("index ", index, last < 0 ? "" : cat(" after index ", last), " in a vector of ", field_.cells()));
    row[index] = leaf_cell(*values.children[0], held.begin + k);
    last = index;
  }
}

bool Cells::there(Range range, int64_t end) {
  if (range.within(end)) return true;
  spoilt(cat("its values lie at ", range.text(), " of ", end));
  return false;
}

bool Cells::right_length(int64_t have, int64_t want) {
  if (have == want) return true;
  faults_.add(row_, field_.shown[0], "has another length", cat("has ", have, " values, expected ", want),
              field_.kind == FieldSpec::Kind::plain ? "" : "Padded(...) cuts and pads");
  return false;
}

}  // namespace stoker::data
