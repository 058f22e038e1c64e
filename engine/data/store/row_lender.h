#pragma once
// Makes what a worker lends (lent_rows.h) beside its training: in a thread of its own that gives way to others, some
// time after training has begun, so that a short fit pays nothing. Nothing is lent where rows are on disk, or with
// their copy would take more than the memory that the store may have, where this process may not map what it likes, and
// where the machine has not twice the memory left that all workers of the host want for their copies.
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "data/store/column_store.h"
#include "data/store/course.h"
#include "shm/segment.h"

namespace stoker::data {

class RowLender {
 public:
  /// `store` is sealed and outlives this; `workers` are on this host. `told` is called once, from the thread, when it
  /// is known whether there is something to lend.
  RowLender(const ColumnStore& store, size_t workers, double delay_seconds, std::function<void(bool)> told);
  ~RowLender();

  /// Any thread. Empty where there is nothing, or not yet.
  shm::Segment lend() const;

 private:
  void run(double delay_seconds);
  bool may_make() const;
  void make();
  bool has_memory(size_t bytes) const;

  const ColumnStore& store_;
  const size_t workers_;
  const std::function<void(bool)> told_;
  Course course_;
  mutable std::mutex mutex_;
  std::condition_variable stops_;
  shm::Segment segment_;  // guarded by mutex_
  std::thread thread_;    // last: it uses the others
};

}  // namespace stoker::data
