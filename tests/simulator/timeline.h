#pragma once
// Virtual time: what is to happen, in order. Things of the same instant happen in the order in which they were planned.
#include <functional>
#include <queue>
#include <random>
#include <vector>

#include "base/clock.h"

namespace stoker::simulator {

class Timeline {
 public:
  TimePoint now() const { return now_; }
  int64_t events() const { return events_; }
  void at(TimePoint when, std::function<void()> what) { plan_.push({std::max(when, now_), next_++, std::move(what)}); }
  void in(double delay, std::function<void()> what) { at(now_ + from_seconds(delay), std::move(what)); }
  /// False when nothing is planned.
  bool step() {
    if (plan_.empty()) return false;
    Item item = plan_.top();
    plan_.pop();
    now_ = item.when;
    ++events_;
    item.what();
    return true;
  }

 private:
  struct Item {
    TimePoint when;
    uint64_t number;
    std::function<void()> what;
    bool operator<(const Item& other) const { return std::tie(other.when, other.number) < std::tie(when, number); }
  };
  TimePoint now_{std::chrono::seconds(1000)};
  uint64_t next_ = 0;
  int64_t events_ = 0;
  std::priority_queue<Item> plan_;
};

/// All chance of a run.
class Chance {
 public:
  explicit Chance(uint64_t seed) : random_(seed) {}
  /// One of [low, high].
  int number(int low, int high) { return std::uniform_int_distribution<int>(low, high)(random_); }
  double between(double low, double high) { return std::uniform_real_distribution<double>(low, high)(random_); }
  bool hits(double probability) { return between(0, 1) < probability; }

 private:
  std::mt19937_64 random_;
};

}  // namespace stoker::simulator
