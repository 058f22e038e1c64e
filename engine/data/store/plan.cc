#include "data/store/plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/hash.h"
#include "base/pieces.h"

namespace stoker::data {
namespace {

/// floor((a * b + plus) / c) without overflow. All ranks ask it of all shards in each step, and a division of 128 bits
/// takes several times as long.
int64_t muldiv(int64_t a, int64_t b, int64_t c, int64_t plus = 0) {
  int64_t product = 0;
  if (!__builtin_mul_overflow(a, b, &product) && !__builtin_add_overflow(product, plus, &product)) return product / c;
  return static_cast<int64_t>((static_cast<__int128>(a) * b + plus) / c);
}

}  // namespace

Plan::Plan(std::vector<int64_t> counts, int64_t batch_size) : counts_(std::move(counts)) {
  if (batch_size < 1) fail_user("batchSize is ", batch_size, ", expected at least 1");
  const int64_t total = std::accumulate(counts_.begin(), counts_.end(), int64_t{0});
  turns_ = steps_ = total / batch_size + (total % batch_size != 0);
  const int64_t largest = counts_.empty() ? 0 : *std::max_element(counts_.begin(), counts_.end());
  if (largest >= 2 * turns_) return;  // the largest shard is in every step
  for (int64_t turn = 0; turn < turns_; ++turn) {
    bool any = false;
    for (int s = 0; s < shards() && !any; ++s) any = rows_of_turn(turn, s).size() > 0;
    if (any) turn_of_.push_back(turn);
  }
  steps_ = static_cast<int64_t>(turn_of_.size());
}

/// Rows of the shard that lie before a turn.
int64_t Plan::cut(int64_t turn, int shard) const {
  const int64_t n = counts_[shard];
  if (n >= 2 * turns_) return muldiv(turn, n, turns_);
  const int64_t pairs = n == 1 ? 1 : n / 2;
  const int64_t shift = muldiv(shard, turns_, shards());
  const int64_t before = muldiv(turn, pairs, turns_, shift);
  return before == pairs ? n : 2 * before;
}

Rows Plan::rows_of_turn(int64_t turn, int shard) const { return {cut(turn, shard), cut(turn + 1, shard)}; }

Rows Plan::rows(int64_t step, int shard) const { return rows_of_turn(turn_of_.empty() ? step : turn_of_[step], shard); }

int64_t Plan::rows(int64_t step) const {
  int64_t sum = 0;
  for (int s = 0; s < shards(); ++s) sum += rows(step, s).size();
  return sum;
}

int64_t parts_of(int64_t rows, int64_t most) { return std::clamp<int64_t>(rows / 2, 1, most); }

Rows part_of(Rows rows, int64_t parts, int64_t part) {
  return {rows.begin + muldiv(part, rows.size(), parts), rows.begin + muldiv(part + 1, rows.size(), parts)};
}

namespace {

/// Numbers below a bound without bias (Lemire: Fast Random Integer Generation in an Interval, TOMACS 2019).
class Bounded {
 public:
  explicit Bounded(uint64_t key) : key_(key) {}
  uint64_t below(uint64_t bound) {
    unsigned __int128 product = next(bound);
    if (static_cast<uint64_t>(product) < bound) {
      const uint64_t threshold = -bound % bound;
      while (static_cast<uint64_t>(product) < threshold) product = next(bound);
    }
    return static_cast<uint64_t>(product >> 64);
  }

 private:
  unsigned __int128 next(uint64_t bound) { return static_cast<unsigned __int128>(splitmix64(key_, i_++)) * bound; }
  uint64_t key_;
  uint64_t i_ = 0;
};

}  // namespace

std::vector<uint32_t> epoch_order(int64_t n, uint64_t seed, uint64_t epoch, int shard, bool shuffle) {
  STOKER_CHECK(n >= 0 && n <= std::numeric_limits<uint32_t>::max());
  std::vector<uint32_t> order;
  order.reserve(n);
  in_pieces(n, kPieceRows, [&](size_t begin, size_t rows) {
    for (size_t i = 0; i < rows; ++i) order.push_back(static_cast<uint32_t>(begin + i));
  });
  if (!shuffle || n == 0) return order;
  const uint64_t numbers[] = {seed, epoch, static_cast<uint64_t>(shard)};
  Bounded random(mix_key(numbers));
  in_pieces(n - 1, kPieceRows, [&](size_t begin, size_t rows) {
    const int64_t last = n - 1 - static_cast<int64_t>(begin);
    for (int64_t i = last; i > last - static_cast<int64_t>(rows); --i) std::swap(order[i], order[random.below(i + 1)]);
  });
  return order;
}

}  // namespace stoker::data
