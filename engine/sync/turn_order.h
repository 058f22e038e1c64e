#pragma once
// Who pushes in a round, in which order, and how stale each push is. Pure.
//
// vocabulary: a *ticket* is the number of a push in the order of all pushes of the fit, from 0; a *record* has the
// shard of each ticket. Replicas push in turns, in the order in which they arrive, or in that of a record.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace stoker::sync {

/// How far a replica has come.
struct ReplicaNumbers {
  int64_t steps = 0;     // that it has taken
  int64_t pushes = 0;    // that it has made
  int64_t pulled = 0;    // pushes of all replicas before it last took the common weights
  double threshold = 0;  // of its next message, see Threshold; 0: it has sent none
  bool operator==(const ReplicaNumbers&) const = default;
};

/// What one push is.
struct Push {
  int shard = 0;
  int64_t steps = 1;  // that it is of
  int64_t stale = 0;  // pushes of others since its replica's last pull
};

/// By all replicas.
int64_t pushes_made(std::span<const ReplicaNumbers> numbers);

/// That with a ticket; and its replica afterwards, which pulls right after it.
Push push_at(int64_t ticket, int shard, int64_t steps, const ReplicaNumbers& before);
ReplicaNumbers after_push(const ReplicaNumbers& before, int64_t ticket, int64_t steps);

/// Those of a round in turns, in their order. `before`: of all replicas, as the round began; `steps`: by shard, of the
/// round; those that are not present do not push.
std::vector<Push> pushes_of(const std::vector<bool>& present, std::span<const ReplicaNumbers> before,
                            std::span<const int64_t> steps);

using Record = std::vector<uint8_t>;
inline constexpr int kMostRecorded = 256;  // shards

/// Two hexadecimal digits a push. Throws Error(user) on another text.
std::string to_text(std::span<const uint8_t> record);
Record record_of(const std::string& text);

/// What a rank knows when it has nothing to run.
struct Standing {
  std::span<const int64_t> pushes;   // by shard, that it has made
  const std::vector<bool>& present;  // shards that push in the round
  int64_t left = 0;                  // windows of the round that nobody has begun
  int64_t bound = -1;                // so many windows may one replica be ahead of the slowest; below 0: any number
};
inline constexpr int kNobody = -1, kLater = -2;

/// By arrival: of `mine`, ascending, the replica whose window begins next: of those that have made the fewest pushes
/// the first. kNobody: in this round none does any more; kLater: none may before others have pushed.
int next_by_arrival(const Standing& at, std::span<const int> mine);

/// By a record of a round: the place of the first push from `from` on that is one of `mine`; its length where none is.
int64_t next_by_record(std::span<const uint8_t> record, int64_t from, std::span<const int> mine);

/// The first place of a record where a replica would be more than `bound` ahead of the slowest that is present; its
/// length where there is none.
int64_t first_beyond(std::span<const uint8_t> record, const std::vector<bool>& present, int64_t bound);

}  // namespace stoker::sync
