#include "sync/sparse.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sync/chunks.h"

namespace stoker::sync {

namespace {

float magnitude(float x) { return std::isnan(x) ? std::numeric_limits<float>::infinity() : std::abs(x); }

}  // namespace

void take_largest(float* vector, int64_t floats, std::span<Entry> out, std::vector<float>& room) {
  if (out.empty()) return;
  room.resize(static_cast<size_t>(floats));
  in_chunks({0, floats}, [&](optim::Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) room[i] = magnitude(vector[i]);
  });
  const auto last = room.begin() + std::ssize(out) - 1;
  std::nth_element(room.begin(), last, room.end(), std::greater<>());
  const float least = *last;
  auto of_least = std::count(room.begin(), last + 1, least);  // of those that are equal to it so many are taken
  size_t found = 0;
  in_chunks({0, floats}, [&](optim::Extent e) {
    for (int64_t i = e.begin; i < e.end; ++i) {
      const float size = magnitude(vector[i]);
      if (size < least || (size == least && of_least-- <= 0)) continue;
      out[found++] = {static_cast<uint32_t>(i), vector[i]};
      vector[i] = 0;
    }
  });
}

void add_entries(std::span<const Entry> entries, optim::Extent part, float* vector) {
  auto entry = std::ranges::lower_bound(entries, part.begin, {}, [](const Entry& e) { return int64_t{e.at}; });
  for (; entry != entries.end() && entry->at < part.end; ++entry) vector[entry->at] += entry->value;
}

}  // namespace stoker::sync
