#pragma once
// The gang as the coordinator sees it, and what follows from it. Plain data and pure functions: the clock and the state
// come in, actions with their reasons go out. No sockets, no threads.
//
// vocabulary: an *attempt* is one run of a Spark task, numbered by taskAttemptId, which is unique and grows; a *member*
// is the attempt that holds a partition's place. Places from CoordinatorOptions::workers on are *late* ones: their
// workers hold rows of shards that others hold too. The gang takes such a member in when its rows are there, at a
// step's end, and does without it when it is lost. Ranks are the members of a generation in the order of their
// partitions.
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "gang/coordinator.h"
#include "gang/protocol.h"

namespace stoker::gang {

/// How a member was lost: by its own word, by the end of its connection, by its process's silence, because its training
/// thread gets nothing done, because its Spark job is started again, because it was late and its slot is needed or it
/// came to a place that others do without and cannot work there, or because another process shall take its place: its
/// arithmetic is not the others'.
enum class Loss { failed, vanished, silent, stuck, replaced, dismissed, refused };
const char* name(Loss how);

struct Lost {
  Loss how = Loss::vanished;
  ErrorKind kind = ErrorKind::world;
  std::string cause = {};  // the worker's own words, or what was seen
  TimePoint when;
  /// Nothing that starts again would go better: the fit ends with it, unless others have the rows of one that had not
  /// begun to work. Then its place stays empty.
  bool fatal() const { return kind == ErrorKind::user || kind == ErrorKind::bug; }
};
/// What a worker that reports this failure is lost to.
Lost lost_to(const Failed& failed, TimePoint now);

struct Member {
  Hello hello;
  TimePoint last_heard;
  std::optional<std::vector<ShardCount>> shards = {};  // once its rows are in
  std::optional<bool> lends = {};                      // whether it has rows to lend, once that is known
  bool lent = false;                                   // to those of its newest generation
  std::set<int> borrowed = {};                         // shards whose rows others of its host have lent it
  int64_t rows = 0;                                    // that it has read, as it told last
  int64_t step = -1;                                   // training steps that it has told of as committed; -1: none
  uint64_t generation = 0;                             // the newest that it is or was a rank of
  double idle = 0;                                     // seconds without progress at work, as it told last
  double waiting = 0;                                  // seconds for which it has only waited, in this generation
  std::string awaits = {};                             // for what, where for its peers
  bool working = false;                                // in the newest generation, until it says that it has left it
  bool paused = false;                                 // at work there, but waits for its end, as it was asked to
  uint64_t commit = 0;                                 // of its host's state, when it last left a generation; 0: none
  std::string stumble = {};                            // why it left unasked, if it did
  std::optional<Fingerprint> fingerprint = {};         // of its arithmetic
  bool let_in = false;                                 // though it is not the others'
  bool finished = false;
  std::optional<Lost> lost = {};
  bool rescued = false;  // lost, and the driver has been asked for a job in its place
  bool living() const { return !finished && !lost; }
};

/// How the fit ended: without a failure the result is here.
struct End {
  std::optional<Error> failure;
};

/// A generation is *running* from its start until the first sign that it cannot go on; then its members are told to
/// halt, and the next one begins when none of them works any more and every place is filled, late ones aside, or others
/// have borrowed the rows of those who are missing. To take in late members, and those who come to a place that the
/// gang has done without, nothing is cut: all are asked to pause, and told to halt when all have.
struct Gang {
  uint64_t generation = 0;  // 0: not formed yet
  int ranks = 0;            // of the newest generation, as it began
  bool running = false;
  bool pausing = false;                       // its members have been asked to pause
  int isa = -1;                               // level of the first generation, for good
  std::optional<Hash128> fingerprint;         // of the arithmetic that the fit is trained with, for good
  bool agreed = false;                        // the newest generation's members have been told that all compute alike
  bool lowered = false;                       // the level, because at a higher one they did not
  bool changed_rows = false;                  // of a replay have been let in: it is not the undisturbed fit any more
  std::map<int, int> refusals;                // by partition, in a row, for another arithmetic
  std::optional<TimePoint> first_hello;       // of any attempt
  std::optional<TimePoint> halted_at;         // when the newest generation stopped running
  std::string standstill;                     // for which it was halted, if for that
  std::map<int, Member> members;              // by partition; a lost one stays until another takes its place
  int job = 0;                                // attempts of lower ones are over
  std::map<int, ShardCount> registered;       // by shard, as first told
  std::map<int, std::vector<int>> shards_of;  // by partition, those that its worker told of last
  std::set<int> read_anew;                    // shards whose rows have become others since the newest generation began
  std::set<int> given_up;                     // places that were lost for too long: training goes on without their rows
  std::set<int> released;                     // partitions of which Spark may believe that they are done
  bool spares = true;                         // may stay
  int losses = 0;                             // so far
  int losses_before = 0;                      // when the newest generation began
  uint64_t commit_before = 0;                 // likewise
  int stumbles = 0;                           // stumbles() when the newest generation began
  std::map<int, int64_t> silent_at;           // by partition: the gang's step when its member was last lost to silence
  std::map<int, int64_t> vanished_at;         // by partition: rows that its member had read when it vanished over them
  std::optional<int64_t> stuck_at;            // the gang's step when a member was last lost because it was stuck
  double patience = 1;                        // times the heartbeat's timeout
  bool restarting = false;                    // another Spark job is about to begin: no generation forms any more
  bool result_here = false;
  bool aborted = false;  // members have been told to stop
  std::optional<End> end;
};

/// "worker 1 (host a, pid 42)"
std::string who(const Hello& hello);
/// Beyond those that the gang began with, or given up.
bool is_late_place(int partition, const Gang& gang, const CoordinatorOptions& options);

/// Whether the gang can go on though nobody in this place is ready: members have borrowed the rows of its shards.
bool can_do_without(int partition, const Gang& gang);

/// What becomes of an attempt that says hello, or has been parked.
struct Entry {
  /// Its answer waits. A speculative attempt of a living member must neither work nor return (Spark would kill the
  /// living one), so it waits for the end of the fit. One of a resubmitted stage is a spare for its place, until its
  /// slot may be needed for a worker that is missing, or by another fit.
  bool park = false;
  Admission::Verdict verdict = Admission::Verdict::go;
  std::string reason = {};
  /// Of `refused`: the fit ends with it, because that partition's rows would be missing.
  std::optional<Error> error = {};
};
Entry admit(const Hello& hello, const Gang& gang, const CoordinatorOptions& options);

enum class Action { pause, halt, form, rescue, dismiss, give_up, agree, lower, refuse, abort, end };
struct Decision {
  Action action = Action::end;
  std::string reason = {};
  std::optional<Error> failure = {};  // of `end`; none: all is well
  std::optional<Start> start = {};    // of `form`
  bool lending = false;               // of `form`: only so that workers of one host may lend each other their rows
  std::vector<int> partitions = {};   // of `rescue`, `dismiss`, `give_up`, `agree` (let in) and `refuse`
};
/// What is to be done now. Carried out, a decision changes the state so that it does not come again.
std::vector<Decision> decide(TimePoint now, const Gang& gang, const CoordinatorOptions& options);

/// Whether only words, silence and waiting can change what decide() says: nobody is missing, and the gang reads its
/// rows or trains. Else a deadline may pass at any moment.
bool is_steady(const Gang& gang, const CoordinatorOptions& options);

/// Seconds from one ping of all members to the next: the heartbeat, or with many members as long as keeps pings at some
/// hundreds a second; but four fit into the time after which silence counts.
double ping_every(const Gang& gang, const CoordinatorOptions& options);

/// A replay that brought other rows than were registered, in the user's words.
std::optional<Error> changed_rows(const Member& member, const std::vector<ShardCount>& told, const Gang& gang);

/// The member vanished while it read its rows, and so did the one before it, at the same row: then it does so for lack
/// of memory, most likely, and a third would not go better. `vanished` is what the loss is otherwise.
Lost out_of_memory_or(Lost vanished, const Gang& gang, const Member& member, const CoordinatorOptions& options);

/// How many generations in a row have ended without a loss and without a new commit, if the next one would begin with
/// `commit`.
int stumbles(const Gang& gang, uint64_t commit);

/// Why nobody will ever get anything done: for three times the heartbeat's timeout all members at work have waited for
/// each other, and nothing has moved. Somebody's words are lost, or peers that reach the coordinator do not reach each
/// other. Empty: somebody works, however long it takes.
std::string standstill(const Gang& gang, const CoordinatorOptions& options);

struct Missed {
  int partition = 0;
  Loss how = Loss::silent;
  std::string cause = {};
};
/// Living members that have said nothing for longer than the heartbeat's timeout, those that were told to halt and for
/// three times as long have neither left nor got anything done, and the one that has got nothing done for the longest
/// time, if that is longer than the timeout. One only: where several are stuck they are rather at an operator that
/// takes long, and while the first one's place is filled the others may end it. Once told to halt they have the time of
/// those who were.
std::vector<Missed> silent(TimePoint now, const Gang& gang, const CoordinatorOptions& options);

}  // namespace stoker::gang
