#include "data/read/field_reader.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/hash.h"
#include "data/spec/convert.h"

namespace stoker::data {
namespace {

using Kind = FieldSpec::Kind;

const char* expected_of(const FieldSpec& field) {
  switch (field.kind) {
    case Kind::category:
      return field.vocabulary->size() == 0  ? "strings or whole numbers"
             : field.vocabulary->of_words() ? "strings"
                                            : "whole numbers";
    case Kind::hash:
      return "strings or whole numbers";
    case Kind::part:
      return "a date or a timestamp";
    case Kind::text:
      return "strings";
    case Kind::present:
      return "values";
    default:
      return "numbers";
  }
}

bool is_whole(Leaf leaf) { return leaf <= Leaf::u64; }
bool is_text(Leaf leaf) { return leaf == Leaf::text || leaf == Leaf::large_text; }
bool is_number(Leaf leaf) { return leaf <= Leaf::f64 || leaf == Leaf::decimal; }

bool readable(const FieldSpec& field, Leaf leaf) {
  switch (field.kind) {
    case Kind::category:
      if (field.vocabulary->size() == 0) return is_text(leaf) || is_whole(leaf);
      return field.vocabulary->of_words() ? is_text(leaf) : is_whole(leaf);
    case Kind::hash:
      return is_text(leaf) || is_whole(leaf);
    case Kind::part:
      return leaf == Leaf::date || leaf == Leaf::timestamp || leaf == Leaf::i64;
    case Kind::text:
      return is_text(leaf);
    case Kind::present:
      return true;
    default:
      return is_number(leaf);
  }
}

/// Calls `f` with a function from a position to the number there, in the number's own type.
template <typename F>
void with_numbers(const LeafView& leaf, F f) {
  const auto plain = [&]<typename S>(S) { f([&leaf](int64_t i) { return leaf.at<S>(i); }); };
  switch (leaf.type.leaf) {
    case Leaf::boolean:
      return f([&leaf](int64_t i) { return static_cast<uint8_t>(leaf.bit(i)); });
    case Leaf::i8:
      return plain(int8_t{});
    case Leaf::u8:
      return plain(uint8_t{});
    case Leaf::i16:
      return plain(int16_t{});
    case Leaf::u16:
      return plain(uint16_t{});
    case Leaf::i32:
      return plain(int32_t{});
    case Leaf::u32:
      return plain(uint32_t{});
    case Leaf::i64:
      return plain(int64_t{});
    case Leaf::u64:
      return plain(uint64_t{});
    case Leaf::f16:
      return f([&leaf](int64_t i) { return half_to_float(leaf.at<uint16_t>(i)); });
    case Leaf::f32:
      return plain(float{});
    case Leaf::f64:
      return plain(double{});
    case Leaf::decimal:
      return f([&leaf](int64_t i) {
        Decimal value{0, leaf.type.scale};
        std::memcpy(&value.unscaled, static_cast<const std::byte*>(leaf.values) + i * 16, 16);
        return value;
      });
    default:
      fail_bug("no numbers");
  }
}

/// The same for whole numbers, as int64.
template <typename F>
void with_whole(const LeafView& leaf, F f) {
  with_numbers(leaf, [&](auto get) {
    if constexpr (std::integral<decltype(get(0))>) f([&](int64_t i) { return static_cast<int64_t>(get(i)); });
  });
}

int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b < 0); }
int64_t floor_rest(int64_t a, int64_t b) { return a % b + (a % b < 0 ? b : 0); }

}  // namespace

ColumnSpec dense_spec(const ColumnSpec& column, const FieldSpec& field) {
  ColumnSpec dense = column;
  dense.fields.clear();
  dense.name = field.column;
  dense.shown = field.shown[0];
  dense.dtype = field.stored;
  dense.shape = field.shape;
  dense.finite |= field.kind != Kind::plain;
  return dense;
}

FieldReader::FieldReader(const FieldSpec& field, const ColumnSpec& dense, const ArrowSchema& schema,
                         const ArrowArray& array, int64_t first, int64_t rows, Faults& faults)
    : field_(field), dense_spec_(dense), faults_(faults), per_row_(field.cells()) {
  if (field.kind == Kind::image) {
    images_.emplace(field, schema, array, first, faults);
    return;
  }
  const bool strict = field.kind == Kind::plain && !faults.skip();
  if (strict || ((field.kind == Kind::plain || field.kind == Kind::number) && field.mean.empty() && !field.padded)) {
    try {
      dense_.emplace(dense, schema, array, first, rows, faults.place());
    } catch (const Error&) {
      if (strict) throw;
    }
  }
  if (strict) return;
  cells_.emplace(field, schema, array, first, expected_of(field), faults);
  if (!readable(field, cells_->leaf().type.leaf)) {
    fail_type(faults.place(), field.shown[0], spark_type(schema), expected_of(field));
  }
}

void FieldReader::read(int64_t begin, int64_t count, std::byte* out, size_t stride) {
  if (images_) return images_->read(begin, count, out, stride);
  if (dense_ && read_dense(begin, count, out, stride)) return;
  begin_ = begin;
  cells_->locate(begin, count, block_);
  with_dtype(field_.stored, [&]<typename T>(T) {
    std::vector<T> values(count * field_.values());
    convert_block(values);
    const size_t size = field_.values() * sizeof(T);
    for (int64_t i = 0; i < count; ++i) std::memcpy(out + i * stride, values.data() + i * field_.values(), size);
  });
}

/// Not where a block has values that need a second look.
bool FieldReader::read_dense(int64_t begin, int64_t count, std::byte* out, size_t stride) {
  if (!cells_) {
    dense_->read(begin, count, out, stride);
    return true;
  }
  try {
    dense_->read(begin, count, out, stride);
    return true;
  } catch (const Error&) {
    return false;
  }
}

template <typename T>
void FieldReader::convert_block(std::vector<T>& out) {
  switch (field_.kind) {
    case Kind::plain:
    case Kind::number:
      return read_numbers(out);
    case Kind::category:
      return read_categories(out);
    case Kind::hash:
      return read_hashes(out);
    case Kind::part:
      return read_parts(out);
    case Kind::present:
      return read_presence(out);
    case Kind::text:
      return read_texts(out);
    case Kind::image:
      fail_bug("pictures are not read cell by cell");
  }
}

template <typename T>
void FieldReader::read_numbers(std::vector<T>& out) {
  with_numbers(cells_->leaf(), [&](auto get) {
    for (size_t i = 0; i < block_.size(); ++i) {
      out[i] = block_[i] >= 0 ? number<T>(get(block_[i]), static_cast<int64_t>(i)) : absent<T>(block_[i], i);
    }
  });
}

template <typename T, typename S>
T FieldReader::number(S value, int64_t i) {
  if constexpr (std::floating_point<S>) {
    if (std::isnan(value) && field_.kind == Kind::number) return absent<T>(kNull, i);
  }
  T stored;
  bool whole = true, rules;
  if (field_.mean.empty()) {
    whole = convert(value, stored);
    rules = acceptable(stored, dense_spec_);
  } else {
    double exact;
    whole = convert(value, exact);
    rules = convert((exact - of(field_.mean, i)) / of(field_.scale, i), stored) && std::isfinite(exact);
  }
  if constexpr (std::floating_point<T>) whole |= field_.lossy && std::isfinite(stored);
  if (whole && rules) return stored;
  const bool digits = rules && std::floating_point<T> && std::isfinite(static_cast<double>(stored));
  fault(i, digits ? "has more digits than are kept" : "is not a number that is allowed",
        complaint<S, T>(value, dense_spec_), digits && field_.kind != Kind::plain ? "lossy=True allows that" : "");
  return T{0};
}

template <typename T>
T FieldReader::number(Decimal value, int64_t i) {
  if (std::integral<T> && field_.mean.empty()) {
    T whole;
    if (convert(value, whole) && acceptable(whole, dense_spec_)) return whole;
    fault(i, "is not a number that is allowed", complaint<Decimal, T>(value, dense_spec_));
    return T{0};
  }
  const double nearest = value.value();
  const bool plain = field_.mean.empty();
  const double kept = plain ? static_cast<double>(static_cast<T>(nearest)) : nearest;
  if (field_.lossy || keeps_digits(value, kept)) return number<T>(nearest, i);
  fault(i, "has more digits than are kept",
        cat("value ", value.text(), " has more digits than ", plain ? name(field_.stored) : "float64", " keeps"),
        "lossy=True allows that");
  return T{0};
}

/// The value where there is none in the array.
template <typename T>
T FieldReader::absent(int64_t cell, int64_t i) {
  if (cell == kZero) return field_.mean.empty() ? T{0} : number<T>(0.0, i);
  if (cell == kPadding) return static_cast<T>(field_.pad);
  if (field_.fill_missing) return number<T>(of(field_.fill, i), i);
  missing_fault(cell, i);
  return T{0};
}

template <typename T>
void FieldReader::read_categories(std::vector<T>& out) {
  const LeafView& leaf = cells_->leaf();
  const Vocabulary& known = *field_.vocabulary;
  const auto fill = [&](auto id) {
    for (size_t i = 0; i < block_.size(); ++i)
      out[i] = block_[i] >= 0 ? static_cast<T>(id(block_[i])) : absent<T>(block_[i], i);
  };
  if (is_text(leaf.type.leaf)) return fill([&](int64_t at) { return known.id(leaf.text(at)); });
  with_whole(leaf, [&](auto get) { fill([&](int64_t at) { return known.id(get(at)); }); });
}

template <typename T>
void FieldReader::read_hashes(std::vector<T>& out) {
  const LeafView& leaf = cells_->leaf();
  const auto bucket = [&](std::span<const std::byte> content) {
    return static_cast<T>(1 + hash128(content).low % static_cast<uint64_t>(field_.buckets - 1));
  };
  const auto fill = [&](auto id) {
    for (size_t i = 0; i < block_.size(); ++i) out[i] = block_[i] >= 0 ? id(block_[i]) : absent<T>(block_[i], i);
  };
  if (is_text(leaf.type.leaf)) {
    return fill([&](int64_t at) {
      const std::string_view text = leaf.text(at);
      return bucket(std::as_bytes(std::span(text.data(), text.size())));
    });
  }
  with_whole(leaf, [&](auto get) {
    fill([&](int64_t at) {
      const int64_t value = get(at);
      return bucket(std::as_bytes(std::span(&value, 1)));
    });
  });
}

template <typename T>
void FieldReader::read_parts(std::vector<T>& out) {
  T* to = out.data();
  for (size_t i = 0; i < block_.size(); ++i, to += field_.values()) {
    const auto taken = block_[i] >= 0 ? moment(block_[i], i) : std::nullopt;
    if (taken) {
      put_parts(*taken, to);
    } else {
      std::fill_n(to, field_.values(), block_[i] >= 0 ? T{0} : absent<T>(block_[i], i));
    }
  }
}

template <typename T>
void FieldReader::read_texts(std::vector<T>& out) {
  std::vector<int64_t> ids;
  T* to = out.data();
  for (size_t i = 0; i < block_.size(); ++i, to += field_.length) {
    ids.clear();
    if (block_[i] < 0 && !field_.fill_missing) missing_fault(block_[i], i);
    const std::string_view text = block_[i] < 0 ? std::string_view() : cells_->leaf().text(block_[i]);
    field_.tokenizer->read(text, field_.length, ids);
    if (field_.mask) std::fill(ids.begin(), ids.end(), 1);
    T* end = std::transform(ids.begin(), ids.end(), to, [](int64_t id) { return static_cast<T>(id); });
    std::fill(end, to + field_.length, static_cast<T>(field_.mask ? 0 : field_.pad));
  }
}

template <typename T>
void FieldReader::put_parts(const Moment& moment, T* out) const {
  for (const DatePart& part : field_.parts) {
    const int64_t value = part_of(moment, part.kind);
    if (part.table.empty()) {
      *out++ = static_cast<T>(value);
    } else {
      for (const double entry : part.table[value - lowest(part.kind)]) *out++ = static_cast<T>(entry);
    }
  }
}

/// Dates are days; whole numbers are microseconds since 1970 on the clock of the zone whose parts are wanted.
std::optional<Moment> FieldReader::moment(int64_t position, int64_t i) {
  const LeafView& leaf = cells_->leaf();
  int64_t day, micros = 0;
  if (leaf.type.leaf == Leaf::date) {
    day = leaf.at<int32_t>(position);
  } else {
    const int64_t per_second = leaf.type.leaf == Leaf::timestamp ? leaf.type.per_second : 1'000'000;
    const int64_t ticks = leaf.at<int64_t>(position);
    day = floor_div(ticks, 86'400 * per_second);
    const int64_t of_day = floor_rest(ticks, 86'400 * per_second);
    micros = per_second > 1'000'000 ? of_day / (per_second / 1'000'000) : of_day * (1'000'000 / per_second);
  }
  if (day >= kFirstDay && day <= kLastDay) return moment_of(day, micros);
  const bool before = day < kFirstDay;
  fault(i, before ? "is before year 1" : "is after year 9999",
        cat(date_text(day), " is ", before ? "before year 1" : "after year 9999", ", expected a date between them"));
  return std::nullopt;
}

template <typename T>
void FieldReader::read_presence(std::vector<T>& out) {
  for (size_t i = 0; i < block_.size(); ++i) out[i] = missing(block_[i]) ? T{0} : T{1};
}

bool FieldReader::missing(int64_t cell) const {
  if (cell < 0) return cell != kZero;
  const LeafView& leaf = cells_->leaf();
  if (leaf.type.leaf == Leaf::f32) return std::isnan(leaf.at<float>(cell));
  return leaf.type.leaf == Leaf::f64 && std::isnan(leaf.at<double>(cell));
}

double FieldReader::of(const std::vector<double>& one_or_all, int64_t i) const {
  return one_or_all.size() == 1 ? one_or_all[0] : one_or_all[i % per_row_];
}

void FieldReader::missing_fault(int64_t cell, int64_t i) {
  const bool plain = field_.kind == Kind::plain;
  const bool whole = cell == kNullRow || field_.shown.size() > 1 || per_row_ == 1;
  const char* cure = field_.kind == Kind::text ? "nulls='fill' allows that" : "nulls='fill' or 'mask' allows that";
  fault(i, "is null", whole ? "is null" : "has a null element", plain ? "" : cure);
}

void FieldReader::fault(int64_t i, const char* reason, const std::string& what, const std::string& cure) {
  const int64_t element = i % per_row_;
  const bool named = field_.shown.size() > 1;
  const bool tell = !named && per_row_ > 1 && what != "is null";
  faults_.add(begin_ + i / per_row_, field_.shown[named ? element : 0], reason,
              tell ? cat(what, " (element ", element, ")") : what, cure);
}

}  // namespace stoker::data
