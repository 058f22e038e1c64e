#pragma once
// The rows of an epoch once more on disk, in parts that are used one after the other: so that a part is read in one go
// whose rows lie all over the file. They are dealt in one pass over all rows, as the first pass of an external radix
// sort does (Knuth, The Art of Computer Programming 3, 5.4.7): each part is written from a buffer of its own, every row
// with its place beside it.
//
// One thread at a time.
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "data/store/course.h"
#include "data/store/spill_file.h"

namespace stoker::data {

class ColumnStore;

class EpochFile {
 public:
  static constexpr uint32_t kUnused = std::numeric_limits<uint32_t>::max();

  EpochFile(SpillOptions options, size_t stride) : stride_(stride), file_(std::move(options)) {}

  /// Allocates what so many rows take. Throws Error(world) where there is no room.
  void reserve(int64_t rows, Course& course);
  /// `place[r]` is that of row r in the epoch, from 0 on, or kUnused; part p has the places from ends[p - 1] to
  /// ends[p]. At least least_bytes() of `buffers` are needed; more make fewer and larger writes.
  void deal(const ColumnStore& store, std::span<const uint32_t> place, std::vector<int64_t> ends,
            std::span<std::byte> buffers, Course& course);
  size_t least_bytes(size_t parts) const;
  /// The rows of a part by place. REQUIRES: they were dealt, and not stopped.
  void read(size_t part, std::byte* out, Course& course) const;

 private:
  struct Out;
  size_t entry() const { return sizeof(uint32_t) + stride_; }
  int64_t begin_of(size_t part) const { return part == 0 ? 0 : ends_[part - 1]; }

  size_t stride_;
  SpillFile file_;
  std::vector<int64_t> ends_;
};

}  // namespace stoker::data
