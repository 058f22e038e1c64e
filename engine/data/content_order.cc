#include "data/content_order.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/pulse.h"

namespace stoker::data {
namespace {

struct Key {
  Hash128 hash;
  uint32_t row;
};

/// Hashes are even, so their top bits deal keys into buckets of about four; what is left to sort is small.
std::vector<Key> into_buckets(const std::vector<uint32_t>& rows, const std::vector<Hash128>& hashes,
                              std::vector<size_t>& starts) {
  const int bits = std::clamp<int>(std::bit_width(rows.size()) - 2, 1, 24);
  const auto bucket = [&](uint32_t row) { return hashes[row].high >> (64 - bits); };
  starts.assign((size_t{1} << bits) + 1, 0);
  for (const uint32_t row : rows) ++starts[bucket(row) + 1];
  for (size_t b = 1; b < starts.size(); ++b) starts[b] += starts[b - 1];
  std::vector<Key> keys(rows.size());
  std::vector<size_t> next(starts.begin(), starts.end() - 1);
  for (const uint32_t row : rows) keys[next[bucket(row)]++] = {hashes[row], row};
  return keys;
}

}  // namespace

void sort_by_content(std::vector<uint32_t>& rows, const std::vector<Hash128>& hashes, const std::byte* data,
                     size_t stride) {
  const auto before = [&](const Key& a, const Key& b) {
    if (a.hash != b.hash) return a.hash < b.hash;
    return std::memcmp(data + a.row * stride, data + b.row * stride, stride) < 0;
  };
  std::vector<size_t> starts;
  std::vector<Key> keys = into_buckets(rows, hashes, starts);
  for (size_t b = 0; b + 1 < starts.size(); ++b) {
    std::sort(keys.begin() + starts[b], keys.begin() + starts[b + 1], before);
    pulse::beat();
  }
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = keys[i].row;
}

}  // namespace stoker::data
