#pragma once
// Long work over memory in pieces, with a beat after each (base/pulse.h): so that a thread that copies gigabytes is not
// taken for one that hangs. Whatever goes over rows or bytes without an end in sight goes this way.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "base/codec.h"
#include "base/pulse.h"

namespace stoker {

inline constexpr size_t kPieceBytes = size_t{8} << 20;  // some milliseconds, where memory is new
inline constexpr size_t kPieceRows = size_t{1} << 18;

/// The next multiple of `unit`.
template <typename T>
constexpr T round_up(T n, T unit) {
  return (n + unit - 1) / unit * unit;
}

/// Calls f(begin, count) for one piece after the other.
template <typename F>
void in_pieces(size_t count, size_t piece, F f) {
  for (size_t begin = 0; begin < count; begin += piece) {
    f(begin, std::min(piece, count - begin));
    pulse::beat();
  }
}

/// They do not overlap.
inline void copy_bytes(ByteView from, std::byte* to) {
  in_pieces(from.size(), kPieceBytes, [&](size_t at, size_t n) { std::memcpy(to + at, from.data() + at, n); });
}

/// What is new is zero. REQUIRES: trivial elements.
template <typename T>
void resize_in_pieces(std::vector<T>& out, size_t size) {
  if (size < out.size()) out.resize(size);
  out.reserve(size);
  in_pieces(size - out.size(), kPieceBytes / sizeof(T), [&](size_t, size_t n) { out.resize(out.size() + n); });
}

}  // namespace stoker
