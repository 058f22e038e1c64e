#pragma once
// A group: the ranks of one generation and the ways between them. One object per rank, used by one thread, except
// abort(), which may be called from any thread.
//
// Ranks that share a host share memory; ranks on different hosts have TCP connections. Whether two ranks share a host
// is proven (a descriptor passed over a Unix socket, a nonce read back), never guessed from names. A world of one needs
// no sockets and no shared memory.
//
// No wait has an end of its own: a peer that lives and says nothing works, or is judged by who hears of its standstill
// (gang/membership.h), and then abort() comes. A rank that waits says for whom (base/pulse.h).
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/codec.h"
#include "base/error.h"
#include "net/roster.h"
#include "net/socket.h"
#include "shm/segment.h"

namespace stoker::collective {

using Member = net::RosterEntry;
using Roster = net::Roster;

/// The listening ends that a worker opens before it is admitted, so that their addresses can be announced.
class Listeners {
 public:
  /// Binds `bind_host` (an address of this host, never a wildcard unless told) on a free one of the ports, and an
  /// abstract Unix name.
  explicit Listeners(const std::string& bind_host, net::Ports ports = {});
  ~Listeners();
  int port() const;
  const std::string& unix_name() const;
  int tcp_fd() const;
  int unix_fd() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Points of a step at which ranks of one host wait for each other.
enum class Phase : int {
  partials = 0,
  sums = 1,
  norms = 2,
  slices = 3,
  kept = 4,
  measures = 5,
  round = 6,
  replicas = 7,
  moments = 8,
  changes = 9,
  thin_partials = 10,
  thin_sums = 11,
  thin_slices = 12,
  steps = 13,
  begun = 14,
  count = 15
};

/// Descriptors that a process needs to be one of so many ranks, at most.
size_t descriptors_of(size_t ranks);

class Group {
 public:
  /// Meets all peers of the roster, however long they take. Throws Error(world) naming a peer that died after it came,
  /// Error(aborted) soon after `stop` is requested (abort() needs a group; this is the same before there is one).
  static std::unique_ptr<Group> form(const Roster& roster, Listeners& listeners, std::stop_token stop = {});
  /// Leaves in good order, or as one that failed when a wait of this group threw or an exception is on its way; a peer
  /// that waits for this rank is told at once.
  virtual ~Group() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual int hosts() const = 0;
  /// Ranks of this host, ascending; local_rank() is my index in it. They are contiguous in no particular way.
  virtual const std::vector<int>& local_ranks() const = 0;
  virtual int local_rank() const = 0;

  /// Memory that all ranks of this host share, zero-filled and allocated in full. Every rank of the host calls in the
  /// same order with the same size. Lives as long as the group.
  virtual std::span<std::byte> host_region(size_t bytes) = 0;
  /// One region per rank of this host, in local_ranks() order; each is written by its owner only.
  virtual std::vector<std::span<std::byte>> rank_regions(size_t bytes) = 0;

  /// Like host_region, but the caller owns it, with a descriptor, and it may outlive the group. Where the rank whose
  /// local_rank() is `holder` brings a segment of this size it is that one; what others bring is dropped.
  virtual shm::Segment host_segment(size_t bytes, int holder, shm::Segment mine) = 0;

  /// "I have reached `phase` of step `step`": everything I wrote before is seen by those who await it.
  virtual void arrive(Phase phase, uint64_t step) = 0;
  /// Waits until every rank of this host has reached it, however long that takes. Throws Error(aborted) after abort()
  /// or when a peer left because it failed (it reports the cause), Error(world) when a peer died (its connection
  /// closed; seen within 100 ms).
  virtual void await(Phase phase, uint64_t step) = 0;
  /// Whether every rank of this host has.
  virtual bool reached(Phase phase, uint64_t step) const = 0;

  /// Waits until something holds of memory that ranks of this host share, which they change with sequential consistency
  /// and then call wake(). `what` says what is waited for. Throws as the other one does.
  virtual void await(const std::function<bool()>& holds, const char* what) = 0;
  virtual void wake() = 0;

  /// Wakes whoever waits in this group, now and from now on, with Error(aborted, reason). Any thread.
  virtual void abort(const std::string& reason) = 0;
  /// Bytes sent to other hosts so far.
  virtual uint64_t bytes_sent() const = 0;
};

}  // namespace stoker::collective
