#pragma once
// Rows on disk, read in windows of some steps before they are needed: while one window is used a thread reads the next,
// in the order of the disk. The first windows after a start are small, so that the first step waits for little. Small
// rows of which a window needs a few everywhere are first dealt into another file, by window.
//
// Used by one thread, but for interrupt(); the reading thread is its own.
#include <array>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <vector>

#include "data/store/column_store.h"
#include "data/store/epoch_file.h"
#include "data/store/row_memory.h"

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
  /// The rows of one slot in one step, one after the other, valid until the next call. Waits where they have not been
  /// read; throws what reading them failed with. Steps are to ascend: with one before the last the rest of the epoch is
  /// planned, and dealt, anew.
  RowsAt at(int64_t step, int slot);

 private:
  /// What a window is to have, or has.
  struct Part {
    int64_t begin = 0;
    int64_t end = 0;  // steps
    int64_t rows = 0;
    bool has(int64_t step) const { return step >= begin && step < end; }
  };
  struct Window {
    Part part;
    std::vector<size_t> starts;  // of each slot of each step, in rows
    RowMemory memory;
  };
  void advance(int64_t step);
  void begin(int64_t step);
  void launch();
  void wait();
  template <typename F>
  void each_slot(const Part& part, F f) const;
  int64_t count(int64_t step) const;
  void read(Window& window, size_t number);
  void copy(size_t number, std::byte* out);
  std::vector<uint32_t> rows_of(const Part& part) const;
  bool is_worth_dealing() const;
  void deal(RowMemory& memory);

  const ColumnStore& store_;
  const int64_t steps_;
  const int slots_;
  const Rows rows_;
  std::vector<Part> parts_;  // from the step on that was the first after a stop or a jump
  size_t next_ = 0;          // part
  bool dealt_ = false;       // those parts
  bool has_room_ = true;     // on disk, to deal
  std::array<Window, 2> windows_;
  int now_ = 0;  // the window in use; the other one and file_ belong to the reading thread while there is one
  std::unique_ptr<EpochFile> file_;
  std::future<void> reading_;
  Course course_;  // of reading
  std::atomic<bool> interrupted_ = false;
};

}  // namespace stoker::data
