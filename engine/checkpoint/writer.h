#pragma once
// Writes a rank's parts behind the back of training: write() copies the part's bytes and returns; a thread of the
// writer's own, of low priority, does the rest.
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "checkpoint/part.h"
#include "checkpoint/storage.h"

namespace stoker::checkpoint {

/// How a part ended.
struct Outcome {
  uint64_t commit = 0;
  int part = 0, of = 0;
  PartHead head = {};
  double copied = 0;       // seconds that write() took
  double written = 0;      // seconds of the thread
  std::string note = {};   // the caller's
  std::string error = {};  // empty: the part is there for good
};

/// "step-000000000120/part-0-of-2": what the first 120 steps made.
std::string folder_name(uint64_t commit);
std::string part_name(uint64_t commit, int part, int of);

/// Used by one thread.
class Writer {
 public:
  /// `told` is called from the writer's thread.
  Writer(std::shared_ptr<Storage> storage, std::function<void(const Outcome&)> told);
  /// Waits for what is being written.
  ~Writer();

  /// Takes the memory of a part now, so that the first write() need not. Does nothing while busy.
  void reserve(uint64_t bytes);
  /// Copies the part `part` of `of` of the image and begins to write it. Waits first where one is being written still.
  /// `note` comes back with the outcome.
  void write(uint64_t commit, const Image& image, int part, int of, std::string note = {});
  bool busy() const { return busy_.load(std::memory_order_acquire); }
  void wait();

 private:
  void put(Outcome outcome);

  std::shared_ptr<Storage> storage_;
  std::function<void(const Outcome&)> told_;
  Bytes copy_;
  std::atomic<bool> busy_ = false;
  std::jthread thread_;
};

}  // namespace stoker::checkpoint
