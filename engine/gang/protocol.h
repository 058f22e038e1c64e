#pragma once
// What worker and coordinator say to each other on the control link. The frames around these messages
// (length, kind, generation) are net/frame.h's; docs/formats/gang.md has the grammar and a worked example.
#include <cstdint>
#include <string>
#include <vector>

#include "base/codec.h"
#include "base/hash.h"
#include "collective/group.h"

namespace stoker::gang {

/// First message of a worker, after the handshake.
struct Hello {
  int partition = 0;         // Spark's partition id; the worker's rank-to-be
  uint64_t attempt = 0;      // taskAttemptId
  int attempt_number = 0;
  std::string host;
  int64_t pid = 0;
  int peer_port = 0;
  std::string unix_name;
  std::string torch_version;
  int isa = 0;               // best instruction-set level, see gang/level.h
  int loaded_isa = -1;       // level at which libtorch is already loaded in this process, -1 if not
};

/// Answer to Hello.
struct Admission {
  enum class Verdict : uint8_t { go, duplicate, finished, refused };
  Verdict verdict = Verdict::go;
  std::string reason;
};

/// Rows of one shard, after ingest.
struct ShardCount {
  int shard = 0;
  int64_t rows = 0;
  Hash128 digest;
};

/// Coordinator to all once every shard's rows are there.
struct Start {
  collective::Roster roster;             // secret left out; each worker has it
  std::vector<ShardCount> shards;        // all S of them, ascending
  int isa = 0;                           // level for all
};

}  // namespace stoker::gang
