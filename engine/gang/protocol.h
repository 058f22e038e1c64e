#pragma once
// What worker and coordinator say to each other on the control link: a message is a struct that encodes and decodes
// itself. The frames around these messages (length, kind, generation) are net/frame.h's; docs/formats/gang.md has the
// grammar and a worked example. decode() throws Error(world) for bytes that are no such message.
#include <cstdint>
#include <string>
#include <vector>

#include "base/codec.h"
#include "base/error.h"
#include "base/hash.h"
#include "net/handshake.h"
#include "net/roster.h"

namespace stoker::gang {

using net::Roster;
using net::RosterEntry;

/// Numbers of the messages on the wire; never reuse one.
enum class Kind : uint16_t {
  hello = 1,
  admission = 2,
  ingesting = 3,
  ingested = 4,
  // 5 was a start that did not tell of a kept state
  metrics = 6,
  ping = 7,
  // 8 was a pong that did not tell how long the worker had been idle
  result_begin = 9,
  result_chunk = 10,
  result_stored = 11,
  finished = 12,
  failed = 13,
  farewell = 14,
  abort = 15,
  // 16 was a fetch of the initial weights alone
  piece = 17,
  halt = 18,
  halted = 19,
  home = 20,
  holding = 21,
  kill = 22,
  digest = 23,
  checkpoint = 24,
  pause = 25,
  paused = 26,
  // 27 was a pong that did not tell what the worker waited for
  // 28 was a start with a time limit for peers
  hand_in = 29,
  state_begin = 30,
  state_chunk = 31,
  // 32 was a fetch of the kept state alone, 33 a start whose initial weights held the constants too
  pong = 34,
  fetch = 35,
  start = 36,
  fingerprint = 37,
  agreed = 38,
  refused = 39,
  borrowed = 40,
  lends = 41,
  wish = 42,
};

/// The longest body of a frame on the control link.
inline constexpr size_t kMaxBody = 2 << 20;
/// Bytes of the result in one result_chunk, of a state in one state_chunk, and of weights or a state in one piece.
inline constexpr size_t kChunk = 1 << 20;

inline net::Purpose control_purpose(bool encrypted) {
  return {.kind = net::Purpose::Kind::control, .encrypted = encrypted};
}

/// First message of a worker, after the handshake.
struct Hello {
  static constexpr Kind kKind = Kind::hello;
  int partition = 0;     // Spark's partition id; the worker's rank-to-be
  uint64_t attempt = 0;  // taskAttemptId
  int attempt_number = 0;
  int job = 0;  // number of the Spark job within the fit: a job that replaces one has a higher one
  std::string host = {};
  int64_t pid = 0;
  int peer_port = 0;
  std::string unix_name = {};
  std::string torch_version = {};
  int isa = 0;          // best instruction-set level, see base/level.h
  int loaded_isa = -1;  // level at which libtorch is already loaded in this process, -1 if not

  Bytes encode() const;
  static Hello decode(ByteView bytes);
};

/// Answer to Hello.
struct Admission {
  static constexpr Kind kKind = Kind::admission;
  enum class Verdict : uint8_t { go, duplicate, finished, refused };
  Verdict verdict = Verdict::go;
  std::string reason;
  double silence_limit = 0;  // seconds without a word of the coordinator after which the worker stops; <= 0: never
  int isa = -1;              // level that the gang runs at already; -1: not known yet

  Bytes encode() const;
  static Admission decode(ByteView bytes);
};
const char* name(Admission::Verdict verdict);

/// Rows so far, of a worker that ingests.
struct Ingesting {
  static constexpr Kind kKind = Kind::ingesting;
  int64_t rows = 0;

  Bytes encode() const;
  static Ingesting decode(ByteView bytes);
};

/// Rows of one shard, after ingest.
struct ShardCount {
  int shard = 0;
  int64_t rows = 0;  // to train on
  Hash128 digest;    // of these and those held out
  int64_t held = 0;  // rows held out for validation

  /// Counts rows that are stored together, those to train on or those held out, by their content's digest.
  void count(int64_t more, const Hash128& content, bool held_out);
  bool same_rows(const ShardCount& other) const;
};

/// All shards of one worker, after ingest.
struct Ingested {
  static constexpr Kind kKind = Kind::ingested;
  std::vector<ShardCount> shards;

  Bytes encode() const;
  static Ingested decode(ByteView bytes);
};

/// Where a host's training state can be had: a shared segment that a process of the host keeps open.
struct Held {
  int64_t pid = 0;  // 0: nowhere
  int fd = -1;      // of that process
  uint64_t bytes = 0;
  Hash128 nonce;  // the segment begins with it; then comes the number of its newest commit, as uint64_t
};

/// A training state apart from the memory that it was in, as a survivor handed it in.
struct Kept {
  uint64_t commit = 0;  // 0: there is none
  uint64_t runs = 0;    // the ledger of the host that it comes from
  uint64_t bytes = 0;
  Hash128 digest;  // of the state, as hosts compare it
};

/// What a worker may fetch from the coordinator.
enum class Wanted : uint8_t { initial = 0, constants = 1, kept = 2 };

/// Bytes that are announced before they are fetched.
struct Announced {
  uint64_t bytes = 0;
  Hash128 digest;  // hash128() of them
};

/// Coordinator to all members of a new generation, once every shard's rows are there and no one is at work any more.
struct Start {
  static constexpr Kind kKind = Kind::start;
  Roster roster;                   // on the wire without rank, secret and encrypted, which WorkerLink fills in
  uint64_t commit = 0;             // newest that a member told of; 0: the training begins
  Held held;                       // for those on the coordinator's host
  Kept kept;                       // that the coordinator has, for the first rank where no member has a state
  std::vector<ShardCount> shards;  // all S of them, ascending
  std::vector<int> owners;         // by shard, the rank that owns it; -1: its rows were given up
  int isa = 0;                     // level for all
  Announced initial;               // weights and buffers as training begins, for one rank of each host
  Announced constants;             // for every worker, once

  Bytes encode() const;
  static Start decode(ByteView bytes);
};

/// A worker asks for a part from this byte on. The answer is a piece: bare bytes, as many as there are but at most
/// kChunk. Several may be asked for before the first has come; they come in that order.
struct Fetch {
  static constexpr Kind kKind = Kind::fetch;
  Wanted wanted = Wanted::initial;
  uint64_t offset = 0;

  Bytes encode() const;
  static Fetch decode(ByteView bytes);
};

/// Coordinator to the members at work: this generation is over. They leave it and answer with Halted; a member that
/// sees by itself that its generation cannot go on sends Halted unasked.
struct Halt {
  static constexpr Kind kKind = Kind::halt;
  std::string reason;

  Bytes encode() const;
  static Halt decode(ByteView bytes);
};

/// Nothing of this worker works in the frame's generation any more. It waits for the next start.
struct Halted {
  static constexpr Kind kKind = Kind::halted;
  uint64_t commit = 0;  // of its host's state; 0: it has none
  std::string cause;    // what it saw, where it was not told

  Bytes encode() const;
  static Halted decode(ByteView bytes);
};

/// Worker to coordinator: this segment of mine is the state of my host, please keep it open too.
struct Holding {
  static constexpr Kind kKind = Kind::holding;
  Held held;  // its pid is not looked at: the coordinator finds out for itself

  Bytes encode() const;
  static Holding decode(ByteView bytes);
};

/// Worker to coordinator: whether it has something to lend to others of its host in the next generation.
struct Lends {
  static constexpr Kind kKind = Kind::lends;
  bool any = false;

  Bytes encode() const;
  static Lends decode(ByteView bytes);
};

/// Coordinator to the members at work, and again in each generation: what the driver wants of the fit. The newest one
/// says all that those before it said and is still wanted.
struct Wish {
  static constexpr Kind kKind = Kind::wish;
  uint64_t number = 0;  // from 1; 0: there is none
  double rate = 0;      // the learning rate to go on with; 0: as it is
  bool stop = false;    // the fit ends

  Bytes encode() const;
  static Wish decode(ByteView bytes);
};

/// Worker to coordinator: others of its host have lent it the rows of these shards, so it can go on with them.
struct BorrowedRows {
  static constexpr Kind kKind = Kind::borrowed;
  std::vector<int> shards;  // ascending

  Bytes encode() const;
  static BorrowedRows decode(ByteView bytes);
};

/// A survivor's answer to hand_in: its host's state follows in state_chunks, which are bare bytes.
struct StateBegin {
  static constexpr Kind kKind = Kind::state_begin;
  Kept kept;

  Bytes encode() const;
  static StateBegin decode(ByteView bytes);
};

/// Coordinator to a worker beside a silent one: end the process behind this Unix name.
struct Kill {
  static constexpr Kind kKind = Kind::kill;
  std::string unix_name;

  Bytes encode() const;
  static Kill decode(ByteView bytes);
};

/// A host's state at a commit. All hosts' must be equal.
struct StateDigest {
  static constexpr Kind kKind = Kind::digest;
  uint64_t commit = 0;
  Hash128 digest;

  Bytes encode() const;
  static StateDigest decode(ByteView bytes);
};

/// What a worker's arithmetic made of one canned micro-batch. Once in its life, in its first generation.
struct Fingerprint {
  static constexpr Kind kKind = Kind::fingerprint;
  Hash128 digest;          // of loss, gradients, buffers and an update of weights; zero where the program did not run
  std::string cpu = {};    // its name
  std::string error = {};  // why the program did not run; else ""

  Bytes encode() const;
  static Fingerprint decode(ByteView bytes);
};

/// Coordinator to a member whose process is of no use to the fit, in another one it may go better.
struct Refused {
  static constexpr Kind kKind = Kind::refused;
  std::string reason;

  Bytes encode() const;
  static Refused decode(ByteView bytes);
};

/// Coordinator to worker, once a heartbeat; less often to each of many.
struct Ping {
  static constexpr Kind kKind = Kind::ping;
  uint64_t number = 0;

  Bytes encode() const;
  static Ping decode(ByteView bytes);
};

/// The answer: the worker's I/O thread lives, and this is what it sees of the training thread.
struct Pong {
  static constexpr Kind kKind = Kind::pong;
  uint64_t number = 0;
  int64_t step = -1;        // training steps that are committed, as far as it has seen; -1: none yet
  double idle = 0;          // seconds for which it has been at work and got nothing done, see base/pulse.h
  double waiting = 0;       // seconds for which it has not been at work or has waited for peers, and nothing has moved
  std::string awaits = {};  // what it waits for, where that is peers; else ""

  Bytes encode() const;
  static Pong decode(ByteView bytes);
};

/// Announces a result: its chunks follow, weights first, then the history. result_chunk's body is the bare bytes.
struct ResultBegin {
  static constexpr Kind kKind = Kind::result_begin;
  uint64_t weights = 0;  // bytes
  uint64_t history = 0;  // bytes
  Hash128 digest;        // result_digest() of both

  Bytes encode() const;
  static ResultBegin decode(ByteView bytes);
};
Hash128 result_digest(ByteView weights, std::string_view history);

/// The coordinator has the result of this digest, whole.
struct ResultStored {
  static constexpr Kind kKind = Kind::result_stored;
  Hash128 digest;

  Bytes encode() const;
  static ResultStored decode(ByteView bytes);
};

/// A worker's failure. `kind` is what base/error.h says.
struct Failed {
  static constexpr Kind kKind = Kind::failed;
  ErrorKind kind = ErrorKind::world;
  std::string text;

  Bytes encode() const;
  static Failed decode(ByteView bytes);
};

/// The coordinator ends the fit.
struct Abort {
  static constexpr Kind kKind = Kind::abort;
  std::string reason;

  Bytes encode() const;
  static Abort decode(ByteView bytes);
};

// hand_in, coordinator to a member that is at work nowhere: send your host's state, the Spark job is started again.
// pause, coordinator to the members at work: stop after a step, all after the same one, and say `paused`; halt follows.
// agreed, coordinator to the members at work: all compute alike, so steps may be committed.
// None has a body. metrics and checkpoint: the body is a JSON object. piece: bare bytes. home (the result is with
// the driver: nobody is needed any more) has no body. finished and farewell (the coordinator's answer to finished and
// failed: the worker may close now) have no body.

}  // namespace stoker::gang
