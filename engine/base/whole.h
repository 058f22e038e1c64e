#pragma once
// Whole numbers of JSON: its own conversions make some number of any, also of those that the type does not hold.
#include <concepts>
#include <cstdint>
#include <utility>

namespace stoker {

template <std::integral T, typename Json>
bool is_whole(const Json& value) {
  if (value.is_number_unsigned()) return std::in_range<T>(value.template get<uint64_t>());
  return value.is_number_integer() && std::in_range<T>(value.template get<int64_t>());
}

}  // namespace stoker
