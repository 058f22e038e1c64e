#pragma once
// Asynchronous SGD as replicas arrive. A commit is a round of so many windows, over all replicas: whoever is free
// begins the next one, so a rank that is slow makes fewer of them and holds nobody before the round's end. A replica
// pushes as soon as its window is done. What it takes then is a ticket, the next number in the order of all pushes, and
// each chunk of the common weights takes pushes in the order of tickets: so the common weights are one sequence of
// states, and the shard of each ticket, which the state records, says all that was left to chance. Who runs with a
// record makes the same bits, with any number of ranks: then a replica's tickets are known, and it waits for them.
//
// A rank, for each commit: begin(); as long as next() gives a window: run() for each of its steps, push(); publish()
// and the rest as ever. The ranks share a host. A round that a death cuts begins anew, in another order: what is
// recorded is what was committed.
//
// Float buffers (of batch norm) are averaged too: with its push a replica moves the common ones one way in so many as
// there are replicas towards its own, and takes them.
#include <atomic>
#include <optional>
#include <span>

#include "sync/pushing.h"

namespace stoker::sync {

struct ArrivalOptions {
  int64_t bound = -1;  // so many windows may one replica be ahead of the slowest; below 0: any number. Ho et al. 2013,
                       // "More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server"
  std::optional<Record> record = {};  // of the whole fit, to be made again
};

class Arrival final : public Pushing {
 public:
  Arrival(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
          const CommitOptions& options, const PushOptions& pushing, ArrivalOptions arrival);

  struct Window {
    int shard = 0;
    int64_t number = 0;  // of the replica's, from 0
  };
  void begin(const Round& round) override;
  /// The next window of this rank, of a replica that is present; none where the round has no more for it. Waits where
  /// one must not run before others have pushed. Throws as Group::await does.
  std::optional<Window> next();
  /// A Part's step is of the window, from 0.
  void run(const Part& part, const Run& run) override;
  /// After run() of all its steps.
  void push(int shard);
  void publish() override;
  bool make(StepTimes& times) override;
  /// After exchange(): windows of a replica in this round, the first one and the one after the last.
  std::pair<int64_t, int64_t> windows(int shard) const;

 private:
  using Number = std::atomic<int64_t>;
  /// What the ranks share of a round; the first one lays it out as the round begins.
  struct Board {
    Number *begun, *tickets;    // windows that were begun, tickets that were given, since the fit began
    std::span<Number> pushes;   // by shard, that it has made
    std::span<Number> applied;  // by chunk of the arena, the float buffers last: tickets; below 0: it is not there yet
  };
  static Board make_board(collective::Group& group, int64_t shards, int64_t chunks);
  void check_record() const;
  std::span<const uint8_t> record_of_round() const;
  void lay_out_board();
  void set_out_chunks();
  std::vector<int64_t> pushes() const;
  int claim();
  int claim_by_record();
  void apply(size_t number, const Push& one, int64_t ticket);
  template <typename Body>
  void in_turn(int64_t chunk, int64_t ticket, const Body& body);
  void push_buffers(Replica& replica);
  optim::Moment moment_of_push(int64_t ticket) const;

  const ArrivalOptions arrival_;
  const std::vector<int> mine_;  // shards, ascending
  const Board board_;
  std::vector<FloatRows> pulled_;  // by replica: weights that it pulled in this round; none where they do not count
  int64_t base_ = 0;               // tickets before the round
  int64_t place_ = 0;              // in the record of the round, after the window under way
  int64_t progress_ = 0;           // steps of the round that the others had come to when it pulled
};

}  // namespace stoker::sync
