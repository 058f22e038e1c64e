#pragma once
// What L-BFGS commits beside its vectors, all of it doubles: where the iteration and its line search are, inner
// products, and the coefficients of the direction. A *record* is what was measured of one gradient g, of what it
// differs by from that at the iteration's start (y), and of the pairs (s, y) of the history, by slot.
#include <cstdint>
#include <span>
#include <vector>

#include "optim/wolfe.h"

namespace stoker::optim {

enum class Act : int { take, go_on, rest };  // what an update does with the point that was evaluated
enum class Why : int { none, iterations, gradient, weights, loss, slope };  // there is no next one

/// All zero before the first evaluation.
struct LbfgsHead {
  double begun = 0;
  double iterations = 0;   // that are over
  double why = 0;          // Why
  double loss = 0;         // at the iteration's start
  double pairs = 0;        // of the history
  double next = 0;         // slot of the next pair
  double diagonal = 0;     // of the first guess at the inverse Hessian
  double act = 0;          // Act
  double step = 0;         // Act::take: to the point that is taken
  double place = 0;        // Place of the gradient there
  double slot = 0;         // of the pair that it adds to the history; -1: none
  double of_gradient = 0;  // the direction's part of the gradient at the new start
  double from[2] = {};     // Act::go_on: Place of the gradients at the bracket's ends
  WolfeSearch search = {};
};

/// A view of the numbers of a history of so many pairs.
class LbfgsNumbers {
 public:
  static int64_t record_size(int64_t pairs) { return 4 * pairs + 5; }
  static int64_t size(int64_t pairs) { return kHead + 2 * record_size(pairs) + 2 * pairs * pairs + 2 * pairs; }

  LbfgsNumbers(double* numbers, int64_t pairs) : at_(numbers), pairs_(pairs) {}

  LbfgsHead& head() const { return *reinterpret_cast<LbfgsHead*>(at_); }
  /// Of the gradient at an end of the bracket.
  std::span<double> record(int end) const { return part(kHead + end * record_size(pairs_), record_size(pairs_)); }
  /// Products of s of one slot and y of another, and of two y.
  double& sy(int64_t i, int64_t j) const { return products()[i * pairs_ + j]; }
  double& yy(int64_t i, int64_t j) const { return products()[(pairs_ + i) * pairs_ + j]; }
  /// The direction's part of each s and each y.
  std::span<double> of_s() const { return part(size(pairs_) - 2 * pairs_, pairs_); }
  std::span<double> of_y() const { return part(size(pairs_) - pairs_, pairs_); }
  int64_t pairs() const { return pairs_; }

 private:
  static constexpr int64_t kHead = sizeof(LbfgsHead) / sizeof(double);
  std::span<double> part(int64_t begin, int64_t count) const { return {at_ + begin, static_cast<size_t>(count)}; }
  double* products() const { return at_ + kHead + 2 * record_size(pairs_); }

  double* at_;
  int64_t pairs_;
};

/// A view of a record.
struct LbfgsRecord {
  std::span<double> numbers;
  int64_t pairs;
  std::span<double> gs() const { return numbers.subspan(0, pairs); }
  std::span<double> gy() const { return numbers.subspan(pairs, pairs); }
  std::span<double> ys() const { return numbers.subspan(2 * pairs, pairs); }
  std::span<double> yy() const { return numbers.subspan(3 * pairs, pairs); }
  double& g_g() const { return numbers[4 * pairs]; }
  double& y_y() const { return numbers[4 * pairs + 1]; }
  double& y_d() const { return numbers[4 * pairs + 2]; }
  double& g_y() const { return numbers[4 * pairs + 3]; }
  double& largest() const { return numbers[4 * pairs + 4]; }
};

/// What is measured besides a record, of the direction d and the gradient.
struct LbfgsWay {
  std::vector<double> dy;  // by slot
  double slope = 0;        // d g
  double size = 0;         // of g: the sum of absolute numbers
  double largest = 0;      // of d
};

struct LbfgsRules {
  double rate = 1;
  int64_t iterations = 0;  // 0: no limit
  double tolerance_grad = 1e-7;
  double tolerance_change = 1e-9;
};

/// The numbers after an evaluation, in place; `now` is the record of the gradient that it gave.
void decide(const LbfgsNumbers& numbers, double loss, const LbfgsRecord& now, const LbfgsWay& way,
            const LbfgsRules& rules);

}  // namespace stoker::optim
