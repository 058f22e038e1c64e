#include "data/store/content_order.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "base/pieces.h"

namespace stoker::data {
namespace {

constexpr size_t kCompareBytes = 1 << 20;  // of rows fetched at a time
constexpr size_t kBeatKeys = 64 << 10;

struct Key {
  Hash128 hash;
  uint32_t row;
};

bool before(const Key& a, const Key& b) { return a.hash != b.hash ? a.hash < b.hash : a.row < b.row; }

/// Hashes are even, so their top bits deal keys to passes, and within a pass to buckets of about four; what is left to
/// sort is small. The buckets of a shard come one after the other, those of the shards too.
class Buckets {
 public:
  Buckets(const std::vector<int64_t>& counts, int64_t passes) : passes_(static_cast<uint64_t>(passes)) {
    for (const int64_t count : counts) {
      shards_.push_back({total_, std::clamp<int>(std::bit_width(static_cast<uint64_t>(count / passes)) - 2, 1, 24)});
      total_ += size_t{1} << shards_.back().bits;
    }
  }
  size_t size() const { return total_; }
  size_t first(size_t shard) const { return shard < shards_.size() ? shards_[shard].first : total_; }
  /// False where the key is of another pass.
  bool find(size_t shard, const Hash128& hash, uint64_t pass, size_t& bucket) const {
    const int bits = shards_[shard].bits;
    const auto place = static_cast<uint64_t>(static_cast<unsigned __int128>(hash.high) * (passes_ << bits) >> 64);
    bucket = shards_[shard].first + (place & ((uint64_t{1} << bits) - 1));
    return place >> bits == pass;
  }

 private:
  struct Shard {
    size_t first;
    int bits;
  };
  uint64_t passes_;
  std::vector<Shard> shards_;
  size_t total_ = 0;
};

/// The keys of one pass, dealt to their buckets: those of bucket b are keys[starts[b]] to keys[starts[b + 1] - 1].
std::vector<Key> deal(const RowsToOrder& rows, const Buckets& buckets, uint64_t pass, std::vector<size_t>& starts) {
  const auto each = [&](auto&& f) {
    rows.hashes.each([&](int64_t first, std::span<const Hash128> hashes) {
      size_t bucket;
      for (size_t i = 0; i < hashes.size(); ++i) {
        const size_t shard = rows.shard_of.empty() ? 0 : rows.shard_of[first + i];
        if (buckets.find(shard, hashes[i], pass, bucket)) f(bucket, Key{hashes[i], static_cast<uint32_t>(first + i)});
      }
    });
  };
  starts.clear();
  resize_in_pieces(starts, buckets.size() + 1);
  each([&](size_t bucket, const Key&) { ++starts[bucket + 1]; });
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  std::vector<Key> keys;
  resize_in_pieces(keys, starts.back());
  std::vector<size_t> next(starts.begin(), starts.end() - 1);
  each([&](size_t bucket, const Key& key) { keys[next[bucket]++] = key; });
  return keys;
}

struct Equal {
  std::vector<std::byte> bytes;
  std::vector<uint32_t> rows;
};

/// Those of `rows` that are equal to the first one; `rows` keeps the others.
Equal take_equal(std::vector<uint32_t>& rows, const RowsToOrder& from) {
  Equal equal{std::vector<std::byte>(from.stride), {}};
  from.fetch({rows.data(), 1}, equal.bytes.data());
  const size_t piece = std::max<size_t>(1, kCompareBytes / from.stride);
  std::vector<std::byte> fetched(std::min(piece, rows.size()) * from.stride);
  std::vector<uint32_t> others;
  for (size_t begin = 0; begin < rows.size(); begin += piece) {
    const std::span<const uint32_t> part(rows.data() + begin, std::min(piece, rows.size() - begin));
    from.fetch(part, fetched.data());
    pulse::beat();
    for (size_t i = 0; i < part.size(); ++i) {
      const bool same = std::memcmp(fetched.data() + i * from.stride, equal.bytes.data(), from.stride) == 0;
      (same ? equal.rows : others).push_back(part[i]);
    }
  }
  rows = std::move(others);
  return equal;
}

/// Rows of one hash: nearly always they are equal, and then are read once.
void sort_by_bytes(std::span<uint32_t> rows, const RowsToOrder& from) {
  std::vector<uint32_t> rest(rows.begin(), rows.end());
  std::vector<Equal> found;
  while (!rest.empty()) found.push_back(take_equal(rest, from));
  std::sort(found.begin(), found.end(), [](const Equal& a, const Equal& b) { return a.bytes < b.bytes; });
  auto out = rows.begin();
  for (const Equal& equal : found) out = std::copy(equal.rows.begin(), equal.rows.end(), out);
}

/// Sorted keys to the end of a shard's order.
void append(std::span<const Key> keys, const RowsToOrder& from, std::vector<uint32_t>& order) {
  for (size_t begin = 0; begin < keys.size();) {
    size_t end = begin;
    for (; end < keys.size() && keys[end].hash == keys[begin].hash; ++end) order.push_back(keys[end].row);
    if (end / kBeatKeys != begin / kBeatKeys) pulse::beat();
    if (end - begin > 1) sort_by_bytes(std::span(order).last(end - begin), from);
    begin = end;
  }
}

}  // namespace

std::vector<std::vector<uint32_t>> content_orders(const RowsToOrder& rows, const std::vector<int64_t>& counts,
                                                  size_t key_bytes) {
  const size_t total = std::accumulate(counts.begin(), counts.end(), size_t{0});
  const size_t at_once = std::max<size_t>(1, key_bytes / sizeof(Key));
  const size_t passes = std::max<size_t>(1, (total + at_once - 1) / at_once);
  const Buckets buckets(counts, static_cast<int64_t>(passes));
  std::vector<std::vector<uint32_t>> orders(counts.size());
  for (size_t s = 0; s < counts.size(); ++s) orders[s].reserve(counts[s]);
  std::vector<size_t> starts;
  for (size_t pass = 0; pass < passes; ++pass) {
    auto keys = deal(rows, buckets, pass, starts);
    for (size_t b = 0; b < buckets.size(); ++b) {
      std::sort(keys.begin() + starts[b], keys.begin() + starts[b + 1], before);
      pulse::beat();
    }
    for (size_t s = 0; s < counts.size(); ++s) {
      const size_t begin = starts[buckets.first(s)];
      append({keys.data() + begin, starts[buckets.first(s + 1)] - begin}, rows, orders[s]);
    }
  }
  return orders;
}

}  // namespace stoker::data
