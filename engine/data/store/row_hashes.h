#pragma once
// The content hash of each row in the order of arrival, in memory or on disk. One thread.
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/hash.h"
#include "data/store/spill_file.h"

namespace stoker::data {

class RowHashes {
 public:
  void append(std::span<const Hash128> hashes);
  /// Forgets all from number `rows` on.
  void rewind(int64_t rows);
  /// Those there are, and all that follow.
  void move_to_disk(const SpillOptions& options);
  bool on_disk() const { return file_ != nullptr; }
  int64_t count() const { return count_; }
  /// All of them, in pieces: f(number of the first, hashes).
  void each(const std::function<void(int64_t, std::span<const Hash128>)>& f) const;

 private:
  int64_t count_ = 0;
  std::vector<std::vector<Hash128>> memory_;  // in full pieces, but for the last one
  std::unique_ptr<SpillFile> file_;
};

}  // namespace stoker::data
