#pragma once
// Rows on disk, read in windows of some steps before they are needed: while one window is used a thread reads the next,
// in the order of the disk. The first windows after a start are small, so that the first step waits for little.
//
// Used by one thread, but for interrupt(); the reading thread is its own.
#include <array>
#include <atomic>
#include <functional>
#include <future>
#include <span>
#include <vector>

#include "data/column_store.h"
#include "data/row_memory.h"

namespace stoker::data {

class ReadAhead {
 public:
  /// The rows that slot (shard) gives to a step. Called by the reading thread.
  using Rows = std::function<std::span<const uint32_t>(int64_t step, int slot)>;

  /// `store` must be sealed and outlive this.
  ReadAhead(const ColumnStore& store, int64_t steps, int slots, Rows rows);
  ~ReadAhead() { stop(); }

  /// Forgets what has been read: `rows` is about to change.
  void stop();
  /// From any thread: ends at(), now and for good, with Error(aborted).
  void interrupt();
  /// The rows of one slot in one step, valid until the next call. Waits where they have not been read; throws what
  /// reading them failed with.
  RowsAt at(int64_t step, int slot);

 private:
  struct Window {
    int64_t begin = 0;
    int64_t end = 0;             // steps
    std::vector<size_t> starts;  // of each slot of each step, in rows
    RowMemory memory;
    bool has(int64_t step) const { return step >= begin && step < end; }
  };
  void advance(int64_t step);
  void launch(int64_t step);
  void read(Window& window, int64_t step, size_t bytes);
  void add(Window& window, std::vector<uint32_t>& rows, int64_t step) const;

  const ColumnStore& store_;
  const int64_t steps_;
  const int slots_;
  const Rows rows_;
  size_t bytes_ = 0;  // of the next window
  std::array<Window, 2> windows_;
  int now_ = 0;  // the window in use; the other one belongs to the reading thread while there is one
  std::future<void> reading_;
  std::atomic<bool> stop_ = false;  // ends reading
  std::atomic<bool> interrupted_ = false;
};

}  // namespace stoker::data
