#pragma once
// Rows of several sorted runs as one, which are read where they lie. Pure.
#include <queue>
#include <span>
#include <vector>

namespace stoker::train {

/// `Before` tells whether a row comes before another one; of equal ones that of the first run does.
template <typename Row, bool (*Before)(const Row&, const Row&)>
class Merge {
 public:
  explicit Merge(std::vector<std::span<const Row>> runs) : runs_(std::move(runs)), heads_(Later{&runs_}) {
    for (size_t i = 0; i < runs_.size(); ++i) push(i);
  }
  Merge(const Merge&) = delete;
  Merge& operator=(const Merge&) = delete;

  /// Null at the end.
  const Row* next() {
    if (heads_.empty()) return nullptr;
    const size_t run = heads_.top();
    heads_.pop();
    const Row* row = runs_[run].data();
    runs_[run] = runs_[run].subspan(1);
    push(run);
    return row;
  }

 private:
  struct Later {
    const std::vector<std::span<const Row>>* runs;
    bool operator()(size_t a, size_t b) const {
      const Row &x = (*runs)[a].front(), &y = (*runs)[b].front();
      return Before(y, x) || (a > b && !Before(x, y));
    }
  };
  void push(size_t run) {
    if (!runs_[run].empty()) heads_.push(run);
  }
  std::vector<std::span<const Row>> runs_;
  std::priority_queue<size_t, std::vector<size_t>, Later> heads_;
};

}  // namespace stoker::train
