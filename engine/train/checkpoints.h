#pragma once
// A fit's checkpoints on a worker: what is in one, when the ranks make one, and how they begin with one. The ranks of
// the first host write, each its part of the host's state. docs/formats/checkpoint.md has the page.
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/timetable.h"
#include "checkpoint/board.h"
#include "checkpoint/writer.h"
#include "collective/group.h"
#include "sync/state.h"
#include "train/checkpoint_spec.h"

namespace stoker::train {

/// A named piece of a state. Those of a checkpoint are the committed weights ("weights", "buffers"), the optimizer's
/// state ("optimizer.<name>"), what replicas have of their own ("replicas") where they have anything, counters
/// ("counts") and the totals of the epoch under way and of those before it
/// ("running", "finished"), what the fit was told ("told"), and which shard each push was of ("record"), what
/// evaluations came to ("evaluated") and what is set aside ("aside", "best", "best_counts") where there are any.
struct Section {
  std::string name;
  std::span<std::byte> bytes;
};
std::vector<Section> sections(const sync::HostState& state, const std::vector<std::string>& optimizer, uint64_t commit,
                              uint64_t epochs_over, uint64_t evaluations, int64_t pushes);

/// One object per worker, which outlives generations; used by one thread.
class Checkpoints {
 public:
  /// `tell` is called with a JSON object for each part that was written or failed, from a thread of this object's own.
  /// `optimizer`: names of the optimizer's state buffers. `storage` may be null where the spec names a folder.
  Checkpoints(CheckpointSpec spec, std::vector<std::string> optimizer, std::shared_ptr<checkpoint::Storage> storage,
              std::function<void(const std::string& json)> tell);

  /// Whether the spec names a checkpoint to begin with.
  bool resumes() const { return spec_.resume.has_value(); }
  /// Loads it into a state that is all zero. Every rank of a host calls it and loads a share; the commit that it gives
  /// is whole when all have returned. Throws Error(user) where it was made with other rows, Error(world) where it
  /// cannot be read.
  uint64_t load(const collective::Group& group, const gang::Start& start, const sync::HostState& state,
                const Timetable& table) const;

  /// Begins in a generation. Every rank calls it at the same point of its life; leave() comes before the group's end.
  void enter(collective::Group& group, const gang::Start& start, const sync::HostState& state, const Timetable& table);
  void leave() { board_.reset(); }
  /// Before the step that makes `commit`; `last`: of the fit.
  void before_step(uint64_t commit, bool last);
  /// After that step: copies this rank's part where a checkpoint is due.
  void after_step(const sync::HostState& state);
  /// Returns when this rank's last part is written, or failed.
  void finish() { writer_.wait(); }

 private:
  std::vector<Section> sections_at(const sync::HostState& state, uint64_t commit, const Timetable& table,
                                   int64_t pushes) const;
  std::string note(const std::vector<Section>& sections, uint64_t commit) const;
  void told(const checkpoint::Outcome& outcome) const;
  Bytes fetch(const std::string& name) const;

  const CheckpointSpec spec_;
  const std::vector<std::string> optimizer_;
  const std::shared_ptr<checkpoint::Storage> storage_;
  const std::function<void(const std::string&)> tell_;
  checkpoint::Writer writer_;
  uint64_t made_ = 0;  // the last commit whose part this rank began to write

  // Of the generation; empty board_: this rank does not write.
  std::optional<checkpoint::Board> board_;
  std::optional<checkpoint::Schedule> schedule_;
  Timetable table_;
  int part_ = 0, of_ = 1;
  std::string gang_;  // what the manifest says of it, as JSON
};

}  // namespace stoker::train
