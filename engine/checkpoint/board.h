#pragma once
// How the ranks of one host agree which commits become checkpoints: the first rank announces one before its step, the
// others see that once the step is committed. Nobody waits here: what was announced was written before the flags of the
// step that all ranks await anyway, and is not written over before all have reached the step after the next.
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace stoker::checkpoint {

/// One object per rank and generation, used by one thread.
class Board {
 public:
  /// Bytes that each rank has on the board: memory that all see, zero at first, written by its owner only.
  static size_t bytes_of_rank();
  /// `regions` are those of all ranks of the host, in their order; `me` is mine.
  Board(const std::vector<std::span<std::byte>>& regions, int me);

  /// First rank, before the step that makes `commit`.
  void announce(uint64_t commit);
  /// Any rank, after that step and before the next.
  bool announced(uint64_t commit) const;
  /// My part of `commit` is written, or failed.
  void done(uint64_t commit);
  /// First rank: whether every rank is done with the last commit that was announced.
  bool all_done() const;

 private:
  struct Place {
    std::atomic<uint64_t> announced[2];  // by commit modulo 2
    std::atomic<uint64_t> done;
  };
  std::vector<Place*> places_;
  Place& mine_;
  uint64_t last_ = 0;
};

}  // namespace stoker::checkpoint
