#include "optim/lbfgs.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/clones.h"
#include "base/error.h"
#include "optim/lbfgs_numbers.h"

namespace stoker::optim {
namespace {

constexpr int kLanes = 16;

/// In one order on every instruction set.
STOKER_CLONES double product(const float* a, const float* b) {
  double lanes[kLanes] = {};
  for (int64_t i = 0; i < kBlock; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(a[i + l]) * static_cast<double>(b[i + l]);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  return lanes[0];
}

double size_of(const float* block) {
  double sum = 0;
  for (int64_t i = 0; i < kBlock; ++i) sum += std::abs(static_cast<double>(block[i]));
  return sum;
}

/// What is no number counts as larger than all: a maximum would pass it over, and the search would count as converged.
double largest_of(const float* block) {
  float largest = 0;
  for (int64_t i = 0; i < kBlock; ++i) {
    const float size = std::abs(block[i]);
    largest = size >= 0 ? std::max(largest, size) : std::numeric_limits<float>::infinity();
  }
  return largest;
}

STOKER_CLONES void scaled(const float* from, float by, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = by * from[i];
}

STOKER_CLONES void less(const float* a, const float* b, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = a[i] - b[i];
}

STOKER_CLONES void moved(const float* from, const float* way, float by, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i] + by * way[i];
}

STOKER_CLONES void add_part(const float* vector, double part, double* sum, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] += part * static_cast<double>(vector[i]);
}

/// State buffers; then s of each slot, then y of each.
enum Buffer : int { kStart, kDirection, kGradient, kFirst, kSecond, kPairs };

/// Of one block.
struct Block {
  float start[kBlock], direction[kBlock], gradient[kBlock], first[kBlock], second[kBlock], now[kBlock];

  const float* at(double place) const {
    const float* all[] = {gradient, first, second, now};
    return all[static_cast<int>(place)];
  }
};

class Lbfgs : public Optimizer {
 public:
  Lbfgs(const OptimizerOptions& options, const Arena& arena)
      : group_(options.groups.front()), pairs_(static_cast<int64_t>(group_.history_size)), blocks_(arena.blocks()) {
    STOKER_CHECK(options.groups.size() == 1);
  }

  int state_buffers() const override { return kPairs + 2 * static_cast<int>(pairs_); }
  std::vector<std::string> state_names() const override {
    std::vector<std::string> names = {"start", "d", "prev_flat_grad", "bracket_g.0", "bracket_g.1"};
    for (const char* kind : {"old_stps.", "old_dirs."})
      for (int64_t i = 0; i < pairs_; ++i) names.push_back(kind + std::to_string(i));
    return names;
  }
  int64_t numbers() const override { return LbfgsNumbers::size(pairs_); }
  int result() const override { return kStart; }
  int64_t sums() const override { return blocks_ * sums_of_block(); }

  void measure(int, Extent range, const Moment&, const UpdateBuffers& buffers, double* sums) const override {
    STOKER_CHECK(range.begin % kBlock == 0 && range.size() % kBlock == 0);
    for (int64_t at = range.begin; at < range.end; at += kBlock)
      measure_block(at, buffers, sums + at / kBlock * sums_of_block());
  }

  void decide(const Evaluated& told, double* decided) const override {
    std::vector<double> all = added(told.sums);
    const auto size = LbfgsNumbers::record_size(pairs_);
    LbfgsWay way{{all.begin() + size, all.begin() + size + pairs_}};
    way.slope = all[size + pairs_];
    way.size = all[size + pairs_ + 1];
    way.largest = all[size + pairs_ + 2];
    const LbfgsRules rules{told.at.rate > 0 ? told.at.rate : group_.lr, static_cast<int64_t>(group_.max_iter),
                           group_.tolerance_grad, group_.tolerance_change};
    optim::decide(LbfgsNumbers(decided, pairs_), told.loss, record_of(all), way, rules);
  }

  std::string ended(const double* numbers) const override {
    const LbfgsHead& head = *reinterpret_cast<const LbfgsHead*>(numbers);
    switch (static_cast<Why>(static_cast<int>(head.why))) {
      case Why::none:
        return "";
      case Why::iterations:
        return cat("L-BFGS has made max_iter = ", group_.max_iter, " iterations");
      case Why::gradient:
        return cat("L-BFGS has converged: no number of the gradient is above tolerance_grad = ", group_.tolerance_grad);
      case Why::weights:
        return cat("L-BFGS has converged: no weight moved by more than tolerance_change = ", group_.tolerance_change);
      case Why::loss:
        return cat("L-BFGS has converged: the loss changed by less than tolerance_change = ", group_.tolerance_change);
      case Why::slope:
        return "L-BFGS has converged: its direction leads down no more";
    }
    fail_bug("L-BFGS ended for no reason");
  }

  /// In place too: a block is read before it is written.
  void update(Extent range, const Moment&, const UpdateBuffers& buffers) const override {
    const LbfgsNumbers numbers(const_cast<double*>(buffers.numbers), pairs_);
    for (int64_t at = range.begin; at < range.end; at += kBlock)
      update_block({at, std::min(at + kBlock, range.end)}, numbers, buffers);
  }

 private:
  int64_t sums_of_block() const { return LbfgsNumbers::record_size(pairs_) + pairs_ + 3; }
  LbfgsRecord record_of(std::span<double> numbers) const {
    return {numbers.first(LbfgsNumbers::record_size(pairs_)), pairs_};
  }

  void measure_block(int64_t begin, const UpdateBuffers& b, double* out) const {
    float g[kBlock], y[kBlock];
    const float* d = b.state_in[kDirection] + begin;
    scaled(b.gradient + begin, b.gradient_scale, g, kBlock);
    less(g, b.state_in[kGradient] + begin, y, kBlock);
    const LbfgsRecord record = record_of({out, static_cast<size_t>(sums_of_block())});
    double* way = out + LbfgsNumbers::record_size(pairs_);
    for (int64_t i = 0; i < pairs_; ++i) {
      const float *s_i = b.state_in[kPairs + i] + begin, *y_i = b.state_in[kPairs + pairs_ + i] + begin;
      record.gs()[i] = product(g, s_i);
      record.gy()[i] = product(g, y_i);
      record.ys()[i] = product(y, s_i);
      record.yy()[i] = product(y, y_i);
      way[i] = product(d, y_i);
    }
    record.g_g() = product(g, g);
    record.y_y() = product(y, y);
    record.y_d() = product(y, d);
    record.g_y() = product(g, y);
    record.largest() = largest_of(g);
    way[pairs_] = product(g, d);
    way[pairs_ + 1] = size_of(g);
    way[pairs_ + 2] = largest_of(d);
  }

  /// Over all blocks, in their order.
  std::vector<double> added(const double* sums) const {
    const int64_t each = sums_of_block(), largest_g = LbfgsNumbers::record_size(pairs_) - 1, largest_d = each - 1;
    std::vector<double> all(each);
    for (int64_t block = 0; block < blocks_; ++block, sums += each)
      for (int64_t i = 0; i < each; ++i)
        all[i] = i == largest_g || i == largest_d ? std::max(all[i], sums[i]) : all[i] + sums[i];
    return all;
  }

  void update_block(Extent e, const LbfgsNumbers& numbers, const UpdateBuffers& b) const {
    const LbfgsHead& head = numbers.head();
    Block block;
    read(e, b, block);
    for (size_t k = 0; k < b.state_in.size(); ++k) write(b.state_in[k] + e.begin, e, b.state_out[k]);
    if (head.act == static_cast<double>(Act::go_on)) {
      write(block.at(head.from[0]), e, b.state_out[kFirst]);
      write(block.at(head.from[1]), e, b.state_out[kSecond]);
    } else if (head.act == static_cast<double>(Act::take)) {
      take(e, numbers, b, block);
    }
    const bool over = head.why != 0;
    moved(b.state_out[kStart] + e.begin, b.state_out[kDirection] + e.begin,
          over ? 0 : static_cast<float>(head.search.step), b.weights_out + e.begin, e.size());
  }

  void read(Extent e, const UpdateBuffers& b, Block& block) const {
    float* to[] = {block.start, block.direction, block.gradient, block.first, block.second};
    for (int k = 0; k < kPairs; ++k) std::copy_n(b.state_in[k] + e.begin, e.size(), to[k]);
    scaled(b.gradient + e.begin, b.gradient_scale, block.now, e.size());
  }

  static void write(const float* from, Extent e, float* base) {
    if (from != base + e.begin) std::copy_n(from, e.size(), base + e.begin);
  }

  /// The point that is taken becomes the start; where there is a next one, the direction to it is found.
  void take(Extent e, const LbfgsNumbers& numbers, const UpdateBuffers& b, const Block& block) const {
    const LbfgsHead& head = numbers.head();
    const bool first = head.iterations == 0;
    const float* gradient = block.at(head.place);
    const auto step = static_cast<float>(head.step);
    moved(first ? b.weights_in + e.begin : block.start, block.direction, step, b.state_out[kStart] + e.begin, e.size());
    write(gradient, e, b.state_out[kGradient]);
    if (head.slot >= 0) {
      const int slot = kPairs + static_cast<int>(head.slot);
      scaled(block.direction, step, b.state_out[slot] + e.begin, e.size());
      less(gradient, block.gradient, b.state_out[slot + pairs_] + e.begin, e.size());
    }
    if (head.why == 0) turn(e, numbers, gradient, b);
  }

  void turn(Extent e, const LbfgsNumbers& numbers, const float* gradient, const UpdateBuffers& b) const {
    double sum[kBlock] = {};
    add_part(gradient, numbers.head().of_gradient, sum, e.size());
    for (int64_t i = 0; i < static_cast<int64_t>(numbers.head().pairs); ++i) {
      add_part(b.state_out[kPairs + i] + e.begin, numbers.of_s()[i], sum, e.size());
      add_part(b.state_out[kPairs + pairs_ + i] + e.begin, numbers.of_y()[i], sum, e.size());
    }
    std::transform(sum, sum + e.size(), b.state_out[kDirection] + e.begin,
                   [](double value) { return static_cast<float>(value); });
  }

  const GroupOptions group_;
  const int64_t pairs_, blocks_;
};

}  // namespace

std::unique_ptr<Optimizer> make_lbfgs(const OptimizerOptions& options, const Arena& arena) {
  return std::make_unique<Lbfgs>(options, arena);
}

}  // namespace stoker::optim
