#pragma once
// Before the Spark job is started again a survivor hands the committed state in, where the coordinator cannot hold its
// memory. This is whom to ask, what has come so far, and when nothing more is to be had. No sockets; the clock comes
// in.
#include <optional>
#include <set>
#include <utility>

#include "base/clock.h"
#include "gang/membership.h"

namespace stoker::gang {

class HandIn {
 public:
  /// `have`: the commit of the state that the coordinator has already. `patience`: how long a survivor may say nothing
  /// of its state, and how long those that have not halted yet are waited for.
  HandIn(uint64_t have, Duration patience) : have_(have), patience_(patience) {}

  struct Next {
    std::optional<int> ask;  // this member for its state
    bool over = false;       // nobody has a newer state that could still be had
  };
  /// Those with the newest commit are asked first, one at a time; who is lost meanwhile, or has been slow, never again.
  Next next(TimePoint now, const Gang& gang);
  /// While the coordinator itself stood still nobody could be heard.
  void forgive(Duration gap) { heard_ += gap; }

  /// What a member says of its state; of one that is not asked, or not any more, nothing is believed. Throws
  /// Error(world) for more bytes than were announced, or when there is no memory for them.
  void begin(const Member& member, const Kept& kept, TimePoint now);
  /// Gives the state once it is whole.
  std::optional<std::pair<Kept, Bytes>> add(const Member& member, ByteView chunk, TimePoint now);

 private:
  bool asked_is_lost(TimePoint now, const Gang& gang) const;
  const Member* newest(const Gang& gang) const;
  bool is_asked(const Member& member) const { return attempt_ == member.hello.attempt; }

  uint64_t have_;
  Duration patience_;
  std::optional<uint64_t> attempt_;  // that is asked
  std::set<uint64_t> tried_;         // attempts that have been
  TimePoint heard_;
  std::optional<Kept> coming_;
  Bytes state_;
};

}  // namespace stoker::gang
