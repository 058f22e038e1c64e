#pragma once
// The gang as the coordinator sees it, and what follows from it. Plain data and pure functions: the clock and the state
// come in, actions with their reasons go out. No sockets, no threads.
//
// vocabulary: an *attempt* is one run of a Spark task, numbered by taskAttemptId, which is unique and grows; a *member*
// is the attempt that holds a partition's place; its partition id is its rank.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "gang/coordinator.h"
#include "gang/protocol.h"

namespace stoker::gang {

/// How a member was lost, the most credible cause of a fit's end first: what a worker says of itself, what is seen from
/// outside, what may be the echo of another member's death, and the obedience of one that was told to stop.
enum class Loss { failed, vanished, silent, echo, aborted };

struct Lost {
  Loss how = Loss::vanished;
  ErrorKind kind = ErrorKind::world;
  std::string cause;  // the worker's own words, or what was seen
  TimePoint when;
};
/// What a worker that reports this failure is lost to.
Lost lost_to(const Failed& failed, TimePoint now);

struct Member {
  Hello hello;
  TimePoint last_heard;
  std::optional<std::vector<ShardCount>> shards = {};  // once its rows are in
  int64_t step = -1;                                   // last one it told of; -1: none
  bool finished = false;
  std::optional<Lost> lost = {};
  bool living() const { return !finished && !lost; }
};

/// How the fit ended: without a failure the result is here.
struct End {
  std::optional<Error> failure;
};

struct Gang {
  uint64_t generation = 0;               // 0: not formed yet
  std::optional<TimePoint> first_hello;  // of any attempt
  std::map<int, Member> members;         // by partition
  bool result_here = false;
  bool aborted = false;  // members have been told to stop
  std::optional<End> end;
};

/// "worker 1 (host a, pid 42)"
std::string who(const Hello& hello);

/// What becomes of an attempt that says hello.
struct Entry {
  /// A speculative attempt of a living member: it must neither work nor return (Spark would kill the living one), so
  /// its answer waits for the end of the fit.
  bool park = false;
  Admission::Verdict verdict = Admission::Verdict::go;
  std::string reason = {};
  /// Of `refused`: the fit ends with it, because that partition's rows would be missing.
  std::optional<Error> error = {};
};
Entry admit(const Hello& hello, const Gang& gang, const CoordinatorOptions& options);

enum class Action { form, abort, end };
struct Decision {
  Action action = Action::end;
  std::string reason = {};
  std::optional<Error> failure = {};  // of `end`; none: all is well
  std::optional<Start> start = {};    // of `form`
};
/// What is to be done now. Carried out, a decision changes the state so that it does not come again.
std::vector<Decision> decide(TimePoint now, const Gang& gang, const CoordinatorOptions& options);

/// Living members that have said nothing for longer than the heartbeat's timeout.
std::vector<int> silent(TimePoint now, const Gang& gang, const CoordinatorOptions& options);

}  // namespace stoker::gang
