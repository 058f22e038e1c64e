#pragma once
// What a fit asks of its workers about checkpoints: "checkpoint" of the training spec.
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/schedule.h"
#include "gang/protocol.h"

namespace stoker::train {

/// A checkpoint to begin with, as its manifest tells it.
struct ResumeSpec {
  std::string folder;                                      // "folder": of the checkpoint, within the storage
  uint64_t commit = 0;                                     // "commit"
  uint64_t steps_of_epoch = 0;                             // "steps_of_epoch"
  std::vector<std::string> parts;                          // "parts": their names
  std::vector<std::pair<std::string, uint64_t>> sections;  // "sections": names and bytes, in the image's order
  std::vector<gang::ShardCount> shards;                    // "shards": rows and digest of each
  int isa = 0;                                             // "isa"
  std::optional<bool> bf16;                                // "bf16": of programs of mixed precision; see
                                                           // program::has_bf16()
  bool begins = false;                                     // "begins": another fit goes on; a stop was the last one's
};

struct CheckpointSpec {
  std::string folder;                // "folder": absolute, for the engine itself; empty: the storage is Python's
  checkpoint::Interval interval;     // "every", "unit"; in commits
  std::optional<ResumeSpec> resume;  // "resume"
};

/// `steps`: of a commit. Throws json::exception on a missing field or one of another type.
CheckpointSpec parse_checkpoint(const nlohmann::json& json, int64_t steps);

/// Throws Error(user) where the gang that has formed cannot go on with the same bits: other rows, or an instruction-set
/// level that it has not.
void check_same(const ResumeSpec& resume, const std::vector<gang::ShardCount>& shards, int isa, bool bf16);

}  // namespace stoker::train
