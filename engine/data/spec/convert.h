#pragma once
// Numbers of one type to numbers of another, telling when a number does not survive. Loops are plain, so that the
// compiler vectorises those that can be.
#include <bit>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "data/spec/columns.h"
#include "data/spec/decimal.h"

namespace stoker::data {

/// An integer is kept exactly by a float when its significant bits fit the mantissa.
template <std::floating_point T, std::integral S>
bool exact_in(S value) {
  if constexpr (std::numeric_limits<S>::digits <= std::numeric_limits<T>::digits) return true;
  using U = std::make_unsigned_t<S>;
  const U size = value < 0 ? U(0) - static_cast<U>(value) : static_cast<U>(value);
  return size == 0 || std::bit_width(size) - std::countr_zero(size) <= std::numeric_limits<T>::digits;
}

/// A float is kept exactly by an integer when it is whole and in range; the upper bound is a power of two.
template <std::integral T, std::floating_point S>
bool exact_in(S value) {
  constexpr S low = static_cast<S>(std::numeric_limits<T>::min());
  const S high = std::ldexp(S{1}, std::numeric_limits<T>::digits);
  return value >= low && value < high && value == std::trunc(value);
}

/// Stores the value; false when the target type cannot hold it. Between floats rounding is allowed, overflow is not.
template <typename S, typename T>
bool convert(S value, T& out) {
  if constexpr (std::is_same_v<S, T>) {
    out = value;
    return true;
  } else if constexpr (std::integral<S> && std::integral<T>) {
    out = static_cast<T>(value);
    return std::in_range<T>(value);
  } else if constexpr (std::floating_point<S> && std::floating_point<T>) {
    out = static_cast<T>(value);
    return !std::isinf(out) || std::isinf(value);
  } else if constexpr (std::floating_point<T>) {
    out = static_cast<T>(value);
    return exact_in<T>(value);
  } else {
    const bool fits = exact_in<T>(value);
    out = fits ? static_cast<T>(value) : T{0};
    return fits;
  }
}

/// Whole numbers stay what they are; floats keep the decimal's digits.
template <typename T>
bool convert(Decimal value, T& out) {
  if constexpr (std::integral<T>) {
    const auto whole = whole_number(value, std::numeric_limits<T>::min(), std::numeric_limits<T>::max());
    out = static_cast<T>(whole.value_or(0));
    return whole.has_value();
  } else {
    out = static_cast<T>(value.value());
    return keeps_digits(value, out);
  }
}

inline bool constrained(const ColumnSpec& spec) {
  return spec.integral || spec.classes > 0 || spec.finite || spec.non_negative;
}

template <typename T>
bool is_class(T value, const ColumnSpec& spec) {
  if constexpr (std::integral<T>) {
    return (std::cmp_greater_equal(value, 0) && std::cmp_less(value, spec.classes)) ||
           (spec.has_ignored && std::cmp_equal(value, spec.ignored));
  } else {
    return (value >= 0 && value < static_cast<T>(spec.classes)) ||
           (spec.has_ignored && value == static_cast<T>(spec.ignored));
  }
}

/// Does a stored value keep to what its column asks for?
template <typename T>
bool acceptable(T value, const ColumnSpec& spec) {
  if constexpr (std::floating_point<T>) {
    if ((spec.finite || spec.integral) && !std::isfinite(value)) return false;
    if (spec.integral && value != std::trunc(value)) return false;
  }
  if (spec.non_negative && value < T{0}) return false;
  return spec.classes <= 0 || is_class(value, spec);
}

inline bool is_whole_number(Decimal value) { return value.whole(); }
template <typename S>
bool is_whole_number(S value) {
  if constexpr (std::floating_point<S>) return value == std::trunc(value);
  return true;
}

inline std::string number_text(Decimal value) { return value.text(); }
/// The shortest text that reads back as the same number.
template <typename S>
std::string number_text(S value) {
  if constexpr (std::floating_point<S>) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  }
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, value);
  return {text, end.ptr};
}

/// What is wrong with a value that cannot be stored or is not acceptable, the most basic cause first.
template <typename S, typename T>
std::string complaint(S value, const ColumnSpec& spec) {
  const std::string text = number_text(value);
  if constexpr (std::floating_point<S>) {
    if (!std::isfinite(value)) return cat("is ", text, ", expected a finite number");
  }
  if ((std::integral<T> || spec.integral) && !is_whole_number(value)) {
    return cat("value ", text, ", expected a whole number", spec.classes > 0 ? " (a class label)" : "");
  }
  T stored;
  if (spec.classes > 0 && (!convert(value, stored) || !acceptable(stored, spec))) {
    return cat("label ", text, " is outside the ", spec.classes, " classes, expected 0 to ", spec.classes - 1,
               spec.has_ignored ? cat(" or ", spec.ignored) : "");
  }
  if (!convert(value, stored)) return cat("value ", text, " cannot be kept as ", name(spec.dtype), " without loss");
  return cat("value ", text, ", expected zero or more");
}

/// IEEE half to single precision.
inline float half_to_float(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = half >> 10 & 0x1f;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) return (sign ? -1.0f : 1.0f) * std::ldexp(static_cast<float>(mantissa), -24);
  const uint32_t widened = exponent == 0x1f ? 0xff : exponent + 112;
  return std::bit_cast<float>(sign | widened << 23 | mantissa << 13);
}

}  // namespace stoker::data
