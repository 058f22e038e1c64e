#include "data/cells.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "data/arrow_bits.h"

namespace stoker::data {
namespace {

using Kind = Level::Kind;

/// `i` counts from the array's own offset.
bool is_valid(const ArrowArray& array, int64_t i) {
  return !has_nulls(array) || is_set(array.buffers[0], i + array.offset);
}

struct Range {
  int64_t begin, end;
};

template <typename O>
Range range_of(const ArrowArray& array, int64_t i) {
  const O* offsets = static_cast<const O*>(array.buffers[1]) + array.offset + i;
  return {offsets[0], offsets[1]};
}

Range range_of(const Level& level, const ArrowArray& array, int64_t i) {
  if (level.kind == Kind::fixed) return {(array.offset + i) * level.size, (array.offset + i + 1) * level.size};
  if (level.kind == Kind::large_list || level.kind == Kind::large_bytes) return range_of<int64_t>(array, i);
  return range_of<int32_t>(array, i);
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

std::string_view LeafView::text(int64_t position) const {
  const auto* bytes = static_cast<const char*>(values);
  if (type.leaf == Leaf::large_text) {
    const auto* at = static_cast<const int64_t*>(offsets) + position;
    return {bytes + at[0], static_cast<size_t>(at[1] - at[0])};
  }
  const auto* at = static_cast<const int32_t*>(offsets) + position;
  return {bytes + at[0], static_cast<size_t>(at[1] - at[0])};
}

bool LeafView::bit(int64_t position) const { return is_set(values, position); }

Cells::Cells(const FieldSpec& field, const ArrowSchema& schema, const ArrowArray& array, int64_t first,
             const char* expected, Faults& faults)
    : field_(field), array_(array), first_(first), faults_(faults) {
  const auto is = [&](FieldSpec::Kind kind) { return field.kind == kind; };
  const bool text = is(FieldSpec::Kind::category) || is(FieldSpec::Kind::hash) || is(FieldSpec::Kind::text);
  const auto type = cell_type(schema, text ? Bytes::as_text : Bytes::as_numbers);
  const bool scalar = type && type->levels.empty();
  if (is(FieldSpec::Kind::present) && field.shape.empty() && !field.padded && !scalar) {  // a row is there, or not
    leaf_.type.leaf = Leaf::boolean;
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
  const bool text = leaf_.type.leaf == Leaf::text || leaf_.type.leaf == Leaf::large_text;
  leaf_.values = held.buffers[text ? 2 : 1];
  if (text) leaf_.offsets = held.buffers[1];
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
  if (leaf_.type.levels.empty()) {
    if (leaf_clean_) return std::iota(out.begin(), out.end(), first_ + begin + array_.offset);
    for (int64_t i = 0; i < count; ++i) walk_leaf(array_, first_ + begin + i);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    row_ = begin + i;
    walk(0, array_, first_ + row_);
  }
}

/// Entry `i` of an array of lists.
void Cells::walk(size_t level, const ArrowArray& array, int64_t i) {
  if (!is_valid(array, i)) return emit(below(level), null_at(level));
  const Level& kind = leaf_.type.levels[level];
  if (kind.kind == Kind::vector) return walk_vector(array, i);
  const Range range = range_of(kind, array, i);
  const int64_t have = range.end - range.begin, want = wanted(level);
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

void Cells::walk_leaf(const ArrowArray& array, int64_t i) {
  if (!is_valid(array, i)) return emit(1, leaf_.type.levels.empty() ? kNullRow : kNull);
  int64_t position = i + array.offset;
  if (array.dictionary != nullptr) {
    position = index_at(array.buffers[1], leaf_.type.index, position);
    if (!is_valid(*array.dictionary, position)) return emit(1, kNull);
    position += array.dictionary->offset;
  }
  emit(1, position);
}

/// Spark ML's vectors: struct<type: 0 for sparse, size, indices, values>; the indices ascend.
void Cells::walk_vector(const ArrowArray& array, int64_t i) {
  const int64_t at = i + array.offset;
  const ArrowArray &type = *array.children[0], &size = *array.children[1];
  const ArrowArray &indices = *array.children[2], &values = *array.children[3];
  const bool sparse = static_cast<const int8_t*>(type.buffers[1])[type.offset + at] == 0;
  const Range held = range_of<int32_t>(values, at);
  const int64_t position = held.begin + values.children[0]->offset;
  const int64_t have = sparse ? static_cast<const int32_t*>(size.buffers[1])[size.offset + at] : held.end - held.begin;
  if (!right_length(have, field_.cells())) return emit(field_.cells(), kZero);
  if (!sparse) {
    std::iota(next_, next_ + have, position);
  } else {
    std::fill_n(next_, have, kZero);
    const auto* where = static_cast<const int32_t*>(indices.children[0]->buffers[1]) + indices.children[0]->offset +
                        range_of<int32_t>(indices, at).begin;
    for (int64_t k = 0; k < held.end - held.begin; ++k) next_[where[k]] = position + k;
  }
  next_ += have;
}

bool Cells::right_length(int64_t have, int64_t want) {
  if (have == want) return true;
  faults_.add(row_, field_.shown[0], "has another length", cat("has ", have, " values, expected ", want),
              field_.kind == FieldSpec::Kind::plain ? "" : "Padded(...) cuts and pads");
  return false;
}

}  // namespace stoker::data
