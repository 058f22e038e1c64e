#include "data/arrow/reader.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "data/arrow/bits.h"
#include "data/arrow/layout.h"
#include "data/spec/convert.h"

namespace stoker::data {
namespace {

/// Index of the first zero bit among `count` bits from `begin`, counted from `begin`; `count` if there is none.
int64_t first_unset(const uint8_t* bits, int64_t begin, int64_t count) {
  int64_t i = 0;
  while (i < count) {
    const int64_t at = begin + i;
    if (at % 8 == 0 && count - i >= 8 && bits[at / 8] == 0xff) {
      i += 8;
    } else if (is_set(bits, at)) {
      ++i;
    } else {
      break;
    }
  }
  return i;
}

/// Copies rows of `size` bytes from dense to strided.
template <size_t kSize>
void scatter_fixed(const std::byte* from, int64_t count, std::byte* to, size_t stride) {
  for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * stride, from + i * kSize, kSize);
}

void scatter(const void* dense, int64_t count, size_t size, std::byte* to, size_t stride) {
  const auto* from = static_cast<const std::byte*>(dense);
  if (count == 0) return;
  if (size == stride) {
    std::memcpy(to, from, count * size);
  } else if (size == 4) {
    scatter_fixed<4>(from, count, to, stride);
  } else if (size == 8) {
    scatter_fixed<8>(from, count, to, stride);
  } else {
    for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * stride, from + i * size, size);
  }
}

std::string expected_type(const ColumnSpec& spec) {
  if (spec.shape.empty()) return "a number";
  std::string text = cat("an array of ", spec.elements(), " numbers");
  if (spec.shape.size() < 2) return text;
  text += " or arrays nested as ";
  for (size_t i = 0; i < spec.shape.size(); ++i) text += cat(i ? " x " : "", spec.shape[i]);
  return text;
}

}  // namespace

ArrowReader::ArrowReader(const ColumnSpec& spec, const ArrowSchema& schema, const ArrowArray& array, int64_t first,
                         int64_t rows, BatchPlace place)
    : spec_(spec), rows_(rows), per_row_(spec.elements()), place_(place) {
  check_type(schema);
  type_ = *number_type(schema);
  if (rows_ > 0) descend(array, first);
}

void ArrowReader::fail(int64_t row, const std::string& what) const { fail_row(place_, row, spec_.shown, what); }

void ArrowReader::check_type(const ArrowSchema& schema) const {
  const auto type = number_type(schema);
  const size_t levels = type ? type->levels.size() : 0;
  const bool fits =
      levels == spec_.shape.size() || (levels == 1 && !spec_.shape.empty()) || (levels == 0 && per_row_ == 1);
  if (type && fits) return;
  fail_type(place_, spec_.shown, spark_type(schema), expected_type(spec_));
}

void ArrowReader::descend(const ArrowArray& array, int64_t first) {
  const ArrowArray* at = &array;
  int64_t begin = first;
  int64_t per_row = 1;  // entries of this level in one row
  const size_t levels = type_.levels.size();
  for (size_t k = 0; k < levels; ++k) {
    check_nulls(*at, begin + at->offset, rows_ * per_row, per_row, k == 0 ? "is null" : "has a null array inside");
    const int64_t want = levels == 1 ? per_row_ : spec_.shape[k];
    begin = list_begin(type_.levels[k], *at, begin + at->offset, rows_ * per_row, want);
    per_row *= want;
    if (is_bytes(type_.levels[k])) {
      leaf_begin_ = begin;
      values_ = at->buffers[2];
      return;
    }
    at = at->children[0];
  }
  leaf_begin_ = begin + at->offset;
  check_nulls(*at, leaf_begin_, rows_ * per_row, per_row, levels == 0 ? "is null" : "has a null element");
  values_ = at->buffers[1];
}

void ArrowReader::check_nulls(const ArrowArray& array, int64_t begin, int64_t count, int64_t per_row,
                              const char* what) const {
  if (!has_nulls(array)) return;
  const int64_t null = first_unset(static_cast<const uint8_t*>(array.buffers[0]), begin, count);
  if (null == count) return;
  fail(null / per_row, per_row == 1 ? what : cat(what, " (element ", null % per_row, ")"));
}

int64_t ArrowReader::list_begin(const Level& level, const ArrowArray& array, int64_t begin, int64_t count,
                                int64_t want) const {
  switch (level.kind) {
    case Level::Kind::list:
      return offsets_begin<int32_t>(array, begin, count, want, array.children[0]->length);
    case Level::Kind::large_list:
      return offsets_begin<int64_t>(array, begin, count, want, array.children[0]->length);
    case Level::Kind::bytes:
      return offsets_begin<int32_t>(array, begin, count, want, bytes_held<int32_t>(array));
    case Level::Kind::large_bytes:
      return offsets_begin<int64_t>(array, begin, count, want, bytes_held<int64_t>(array));
    default:
      if (level.size != want) fail(0, cat("has ", level.size, " values, expected ", want));
      return begin * want;
  }
}

/// Lists that follow each other, `end` is that of what they lie in.
template <typename O>
int64_t ArrowReader::offsets_begin(const ArrowArray& array, int64_t begin, int64_t count, int64_t want,
                                   int64_t end) const {
  const O* offsets = static_cast<const O*>(array.buffers[1]) + begin;
  const auto length = [&](int64_t i) { return static_cast<int64_t>(uint64_t(offsets[i + 1]) - uint64_t(offsets[i])); };
  bool even = true;
  for (int64_t i = 0; i < count; ++i) even &= length(i) == want;
  const auto row = [&](int64_t i) { return i / (count / rows_); };
  for (int64_t i = 0; !even; ++i)
    if (length(i) != want) fail(row(i), cat("has ", length(i), " values, expected ", want));
  const bool there = Range{offsets[0], offsets[count]}.within(end);
  for (int64_t i = 0; !there; ++i) {
    const Range list{offsets[i], offsets[i + 1]};
    if (!list.within(end)) fail(row(i), cat(kSpoilt, ": its values lie at ", list.text(), " of ", end));
  }
  return offsets[0];
}

void ArrowReader::read(int64_t begin, int64_t count, std::byte* out, size_t stride) {
  switch (type_.leaf) {
    case Leaf::boolean:
      widen_bits(begin, count);
      return read_from(reinterpret_cast<const uint8_t*>(widened_.data()), begin, count, out, stride);
    case Leaf::f16:
      widen_halves(begin, count);
      return read_from(reinterpret_cast<const float*>(widened_.data()), begin, count, out, stride);
    case Leaf::i8:
      return read_from(leaves<int8_t>(begin), begin, count, out, stride);
    case Leaf::u8:
      return read_from(leaves<uint8_t>(begin), begin, count, out, stride);
    case Leaf::i16:
      return read_from(leaves<int16_t>(begin), begin, count, out, stride);
    case Leaf::u16:
      return read_from(leaves<uint16_t>(begin), begin, count, out, stride);
    case Leaf::i32:
      return read_from(leaves<int32_t>(begin), begin, count, out, stride);
    case Leaf::u32:
      return read_from(leaves<uint32_t>(begin), begin, count, out, stride);
    case Leaf::i64:
      return read_from(leaves<int64_t>(begin), begin, count, out, stride);
    case Leaf::u64:
      return read_from(leaves<uint64_t>(begin), begin, count, out, stride);
    case Leaf::f32:
      return read_from(leaves<float>(begin), begin, count, out, stride);
    case Leaf::f64:
      return read_from(leaves<double>(begin), begin, count, out, stride);
    case Leaf::decimal:
      widen_decimals(begin, count);
      return read_from(reinterpret_cast<const Decimal*>(widened_.data()), begin, count, out, stride);
    default:
      fail_bug("number_type() gives numbers only");
  }
}

template <typename S>
void ArrowReader::read_from(const S* values, int64_t begin, int64_t count, std::byte* out, size_t stride) {
  with_dtype(spec_.dtype, [&]<typename T>(T) { read_as<S, T>(values, begin, count, out, stride); });
}

template <typename S, typename T>
void ArrowReader::read_as(const S* values, int64_t begin, int64_t count, std::byte* out, size_t stride) {
  const int64_t n = count * per_row_;
  const T* dense = nullptr;
  bool good = true;
  if constexpr (std::is_same_v<S, T>) {
    dense = values;
  } else {
    scratch_.resize(n * sizeof(T));
    T* converted = reinterpret_cast<T*>(scratch_.data());
    for (int64_t i = 0; i < n; ++i) good &= convert(values[i], converted[i]);
    dense = converted;
  }
  if (constrained(spec_)) {
    for (int64_t i = 0; i < n; ++i) good &= acceptable(dense[i], spec_);
  }
  for (int64_t i = 0; !good; ++i) {
    T stored;
    if (!convert(values[i], stored) || !acceptable(stored, spec_)) {
      fail(begin + i / per_row_,
           complaint<S, T>(values[i], spec_) + (per_row_ > 1 ? cat(" (element ", i % per_row_, ")") : ""));
    }
  }
  scatter(dense, count, per_row_ * sizeof(T), out, stride);
}

void ArrowReader::widen_bits(int64_t begin, int64_t count) {
  const int64_t first = leaf_begin_ + begin * per_row_;
  widened_.resize(count * per_row_);
  for (int64_t i = 0; i < count * per_row_; ++i) widened_[i] = std::byte(is_set(values_, first + i));
}

void ArrowReader::widen_halves(int64_t begin, int64_t count) {
  const uint16_t* halves = leaves<uint16_t>(begin);
  widened_.resize(count * per_row_ * sizeof(float));
  auto* floats = reinterpret_cast<float*>(widened_.data());
  for (int64_t i = 0; i < count * per_row_; ++i) floats[i] = half_to_float(halves[i]);
}

void ArrowReader::widen_decimals(int64_t begin, int64_t count) {
  const auto* unscaled = static_cast<const std::byte*>(values_) + (leaf_begin_ + begin * per_row_) * sizeof(Int128);
  widened_.resize(count * per_row_ * sizeof(Decimal));
  auto* decimals = reinterpret_cast<Decimal*>(widened_.data());
  for (int64_t i = 0; i < count * per_row_; ++i) {
    decimals[i].scale = type_.scale;
    std::memcpy(&decimals[i].unscaled, unscaled + i * sizeof(Int128), sizeof(Int128));
  }
}

}  // namespace stoker::data
