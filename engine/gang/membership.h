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

/// How a member was lost. The order is that of credibility as the cause: what a worker says of itself, then what is
/// seen from outside, then what may only be the echo of another's death.
enum class Loss { failed, vanished, silent, echo, aborted };

struct Lost {
  Loss how = Loss::vanished;
  ErrorKind kind = ErrorKind::world;
  std::string cause;  // the worker's own words, or what was seen
  TimePoint when;
};

struct Member {
  Hello hello;
  TimePoint last_heard;
  int64_t rows = 0;
  std::optional<std::vector<ShardCount>> shards;  // once its rows are in
  int64_t step = -1;                              // last one it told of
  bool finished = false;
  std::optional<Lost> lost;
};

/// How the fit ended.
struct End {
  std::optional<Error> failure;  // empty: the result is here
};

struct Gang {
  uint64_t generation = 0;  // 0: not formed yet
  std::optional<TimePoint> first_hello;
  std::map<int, Member> members;  // by partition
  bool result_here = false;
  bool aborted = false;  // workers have been told to stop
  std::optional<End> end;
};

/// "worker 1 (host a, pid 42)"
std::string who(const Hello& hello);

/// What becomes of an attempt that says hello. `park`: a speculative attempt of a living member, which must neither
/// work nor return (Spark would kill the living one); it is answered "finished" when the fit ends.
/// `refused` and `error` set: the fit ends with it, for no other task would come that fits better.
struct Entry {
  bool park = false;
  Admission answer;
  std::optional<Error> error;
};
Entry admit(const Hello& hello, const Gang& gang, const CoordinatorOptions& options);

enum class Action { form, abort, end };
struct Decision {
  Action action;
  std::string reason;
  std::optional<Error> failure;  // of `end`; empty: all is well
};
/// What is to be done now. Carrying it out changes the state so that the same decision does not come again.
std::vector<Decision> decide(TimePoint now, const Gang& gang, const CoordinatorOptions& options);

/// The start message of the next generation. REQUIRES: every member's rows are in.
/// Throws what makes forming impossible: no rows, a shard missing or told twice, levels that cannot be matched.
Start form(const Gang& gang, const CoordinatorOptions& options);

/// The members that have been silent for longer than the heartbeat's timeout.
std::vector<int> silent(TimePoint now, const Gang& gang, const CoordinatorOptions& options);

}  // namespace stoker::gang
