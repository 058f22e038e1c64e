#pragma once
// A world of one: no sockets, no shared memory, nothing to wait for. Used by one thread, but for abort().
#include <deque>

#include "collective/abort_flag.h"
#include "collective/group.h"
#include "shm/segment.h"

namespace stoker::collective {

class LocalGroup final : public Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  int hosts() const override { return 1; }
  const std::vector<int>& local_ranks() const override { return ranks_; }
  int local_rank() const override { return 0; }
  std::span<std::byte> host_region(size_t bytes) override {
    return regions_.emplace_back(shm::Segment::unshared(bytes)).bytes();
  }
  std::vector<std::span<std::byte>> rank_regions(size_t bytes) override { return {host_region(bytes)}; }
  shm::Segment host_segment(size_t bytes, int, shm::Segment mine) override {
    return mine.bytes().empty() ? shm::Segment("stoker-host", bytes) : std::move(mine);
  }
  void arrive(Phase, uint64_t) override {}
  void await(Phase, uint64_t) override { aborted_.check(); }
  bool reached(Phase, uint64_t) const override { return true; }
  void await(const std::function<bool()>& holds, const char* what) override {
    aborted_.check();
    if (!holds()) fail_bug("a rank alone waits for ", what);
  }
  void wake() override {}
  void abort(const std::string& reason) override { aborted_.raise(reason); }
  uint64_t bytes_sent() const override { return 0; }

 private:
  const std::vector<int> ranks_ = {0};
  std::deque<shm::Segment> regions_;
  AbortFlag aborted_;
};

}  // namespace stoker::collective
