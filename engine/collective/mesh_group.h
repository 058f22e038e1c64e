#pragma once
// A group of several ranks: shared memory inside a host, one connection to every other rank. Used by one thread, but
// for abort(). What the sums need beyond Group is here: topology and frames.
#include <deque>

#include "base/pulse.h"
#include "collective/abort_flag.h"
#include "collective/group.h"
#include "collective/peers.h"
#include "collective/topology.h"
#include "collective/transfers.h"
#include "shm/segment.h"
#include "shm/wake.h"

namespace stoker::collective {

class MeshGroup final : public Group {
 public:
  /// The peers have just met; tells them who shares whose host and makes the host's flags.
  MeshGroup(const Roster& roster, Peers peers, const std::stop_token& stop);
  ~MeshGroup() override;

  int rank() const override { return roster_.rank; }
  int size() const override { return peers_.size(); }
  int hosts() const override { return topology_.hosts(); }
  const std::vector<int>& local_ranks() const override { return topology_.local_ranks(); }
  int local_rank() const override { return topology_.local_rank(); }
  std::span<std::byte> host_region(size_t bytes) override;
  std::vector<std::span<std::byte>> rank_regions(size_t bytes) override;
  shm::Segment host_segment(size_t bytes, int holder, shm::Segment mine) override;
  void arrive(Phase phase, uint64_t step) override;
  void await(Phase phase, uint64_t step) override;
  bool reached(Phase phase, uint64_t step) const override;
  void await(const std::function<bool()>& holds, const char* what) override;
  void wake() override;
  void abort(const std::string& reason) override;
  uint64_t bytes_sent() const override { return transfers_.bytes_sent(); }

  const Topology& topology() const { return topology_; }
  /// Announce frames of the current step here, then run_transfers().
  Transfers& transfers() { return transfers_; }
  void run_transfers(const std::function<bool()>& done);
  Stamp stamp_of(uint64_t step) const { return stamp(roster_.generation, step); }

 private:
  static constexpr int kPhases = static_cast<int>(Phase::count);
  /// One rank's flags: the newest step at which it has reached each phase. Written by that rank only.
  struct alignas(64) Flags {
    std::atomic<Stamp> phase[kPhases];
  };
  /// Shared by the ranks of a host.
  struct Control {
    shm::WakeWord word;
    Flags ranks[];
  };
  static_assert(std::atomic<Stamp>::is_always_lock_free);

  bool shares_memory() const { return local_ranks().size() > 1; }
  bool has_reached(int local, Phase phase, Stamp stamp) const;
  std::vector<int> behind(Phase phase, uint64_t step) const;
  void tick(Phase phase, uint64_t step, pulse::Wait& wait);
  std::function<void()> tick_while(pulse::Wait& wait, const std::string& what, int rank);
  std::string segment_name() const { return cat("stoker-", roster_.generation, "-", shared_); }
  void hand_out(const shm::Segment& segment, size_t bytes);
  shm::Segment receive_from(Peer& holder, size_t bytes);
  [[noreturn]] void fail_sharing(int rank, const Error& error);
  /// Runs `work`; whatever it throws makes this rank one that failed.
  template <typename Work>
  auto watch(const Work& work);

  const Roster roster_;
  Peers peers_;
  const Topology topology_;
  Transfers transfers_;
  std::vector<shm::Spin> spins_;  // by phase; the last one of other conditions
  net::Fd wake_fd_;               // readable once aborted
  AbortFlag aborted_;
  bool failed_ = false;
  const int exceptions_;  // on their way when this group was made
  std::deque<shm::Segment> regions_;
  uint64_t shared_ = 0;         // segments so far, of either kind
  Control* control_ = nullptr;  // in the first region; none when nobody shares it
  Stamp newest_ = 0;            // at which this rank arrived anywhere
};

}  // namespace stoker::collective
