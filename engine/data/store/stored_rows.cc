#include "data/store/stored_rows.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/pieces.h"

namespace stoker::data {
namespace {

constexpr size_t kReadBytes = 1 << 20;    // of one call
constexpr size_t kGapBytes = 16 << 10;    // read over rather than left out: what a disk reads in the time of a call
constexpr size_t kAheadBytes = 8 << 20;   // that the kernel is told of before they are read
constexpr size_t kCopiedRows = 32 << 10;  // between two signs that it goes on
constexpr size_t kIndexBytesPerRow = 44;  // hash, sort key and order while the rows are put in order

/// In runs, which are then merged by two, so that each part of the work is short.
void sort_in_runs(std::vector<uint64_t>& numbers, Course& course) {
  const auto at = [&](size_t i) { return numbers.begin() + static_cast<ptrdiff_t>(std::min(i, numbers.size())); };
  for (size_t begin = 0; begin < numbers.size(); begin += kCopiedRows, ++course.moved)
    std::sort(at(begin), at(begin + kCopiedRows));
  for (size_t run = kCopiedRows; run < numbers.size(); run *= 2)
    for (size_t begin = 0; begin + run < numbers.size(); begin += 2 * run, ++course.moved)
      std::inplace_merge(at(begin), at(begin + run), at(begin + 2 * run));
}

uint32_t row_of(uint64_t wanted) { return static_cast<uint32_t>(wanted >> 32); }
uint32_t place_of(uint64_t wanted) { return static_cast<uint32_t>(wanted); }

}  // namespace

/// Rows that are read by one call: wanted[begin] to wanted[end - 1].
struct StoredRows::Run {
  size_t begin = 0;
  size_t end = 0;
  uint64_t at = 0;
  size_t bytes = 0;
};

StoredRows::Run StoredRows::run_from(const std::vector<uint64_t>& wanted, size_t begin, size_t stride) {
  Run run{begin, begin, row_of(wanted[begin]) * uint64_t{stride}, 0};
  while (run.end < wanted.size()) {
    const uint64_t at = row_of(wanted[run.end]) * uint64_t{stride};
    const uint64_t bytes = at + stride - run.at;
    if (run.end > begin && (at > run.at + run.bytes + kGapBytes || bytes > kReadBytes)) break;
    run.bytes = bytes;
    ++run.end;
  }
  return run;
}

bool StoredRows::fits(int64_t count) const {
  return static_cast<size_t>(count) <= options_.memory / (stride_ + kIndexBytesPerRow);
}

/// Rows that stay in memory where others are on disk.
int64_t StoredRows::beside_index(size_t index_bytes) const {
  return static_cast<int64_t>((options_.rows_bytes() - std::min(index_bytes, options_.rows_bytes())) / stride_);
}

bool StoredRows::reserve(int64_t count, size_t index_bytes) {
  if (!file_ && fits(count)) return false;
  if (!file_ && !reserved_) reserved_ = new_file();
  const int64_t first = file_ ? std::min(resident_, beside_index(index_bytes)) : beside_index(index_bytes);
  if (count > first) (file_ ? file_ : reserved_)->reserve(first * stride_, (count - first) * stride_);
  return true;
}

std::byte* StoredRows::room(int64_t count) {
  if (!file_ && !fits(count_ + count)) begin_spill();
  if (file_) {
    block_.resize(count * stride_);
    return block_.data();
  }
  memory_.reserve((count_ + count) * stride_);
  return memory_.data() + count_ * stride_;
}

void StoredRows::keep(int64_t count) {
  if (file_)
    file_->write(count_ * stride_, {block_.data(), count * stride_});
  else
    resident_ += count;
  count_ += count;
}

void StoredRows::rewind(int64_t rows) {
  count_ = rows;
  resident_ = std::min(resident_, rows);
}

std::unique_ptr<SpillFile> StoredRows::new_file() const {
  if (options_.spill.folders.empty())
    fail_world("the rows need more than storeMemory, and there is no folder for them");
  return std::make_unique<SpillFile>(options_.spill);
}

void StoredRows::begin_spill() {
  file_ = reserved_ ? std::move(reserved_) : new_file();
  move_to_disk(static_cast<int64_t>(options_.rows_bytes() / stride_));
}

/// But for the first `resident` rows.
void StoredRows::move_to_disk(int64_t resident) {
  if (resident >= resident_) return;
  file_->write(resident * stride_, {memory_.data() + resident * stride_, (resident_ - resident) * stride_});
  resident_ = resident;
  memory_.trim(resident * stride_);
}

void StoredRows::finish(size_t index_bytes) {
  if (file_) move_to_disk(beside_index(index_bytes));
  memory_.trim(resident_ * stride_);
  block_ = {};
}

void StoredRows::copy(const uint32_t* rows, int64_t count, std::byte* out, Course& course) const {
  std::vector<uint64_t> wanted;  // row and place of those on disk
  in_pieces(count, kCopiedRows, [&](size_t begin, size_t n) {
    for (size_t i = begin; i < begin + n && !course.stopped; ++i) {
      if (rows[i] < resident_)
        std::memcpy(out + i * stride_, memory_.data() + rows[i] * stride_, stride_);
      else
        wanted.push_back(uint64_t{rows[i]} << 32 | static_cast<uint32_t>(i));
    }
    ++course.moved;
  });
  sort_in_runs(wanted, course);
  copy_from_disk(wanted, out, course);
}

void StoredRows::each(const std::function<void(int64_t, std::span<const std::byte>)>& f, Course& course) const {
  const int64_t piece = std::max<int64_t>(1, kReadBytes / stride_);
  std::vector<std::byte> buffer;
  for (int64_t first = 0; first < count_ && !course.stopped;) {
    const int64_t n = std::min(piece, (first < resident_ ? resident_ : count_) - first);
    const size_t bytes = n * stride_;
    if (first >= resident_) {
      buffer.resize(bytes);
      file_->read_on(first * stride_, buffer);
    }
    f(first, {first < resident_ ? memory_.data() + first * stride_ : buffer.data(), bytes});
    first += n;
    ++course.moved;
  }
}

/// In the order of the disk. What the kernel does not have in memory it is asked to fetch, several runs at once.
void StoredRows::copy_from_disk(const std::vector<uint64_t>& wanted, std::byte* out, Course& course) const {
  std::vector<std::byte> buffer;
  std::vector<Run> awaited;
  size_t awaited_bytes = 0;
  const auto fetch_awaited = [&] {
    for (const Run& run : awaited) {
      if (!course.stopped) read_run(wanted, run, true, buffer, out);
      ++course.moved;
    }
    awaited.clear();
    awaited_bytes = 0;
  };
  for (size_t next = 0; next < wanted.size() && !course.stopped; ++course.moved) {
    const Run run = run_from(wanted, next, stride_);
    next = run.end;
    if (read_run(wanted, run, false, buffer, out)) continue;
    file_->expect(run.at, run.bytes);
    awaited.push_back(run);
    awaited_bytes += run.bytes;
    if (awaited_bytes >= kAheadBytes) fetch_awaited();
  }
  fetch_awaited();
}

/// False where it would have to wait, and may not.
bool StoredRows::read_run(const std::vector<uint64_t>& wanted, const Run& run, bool wait,
                          std::vector<std::byte>& buffer, std::byte* out) const {
  const bool alone = run.end - run.begin == 1;  // goes where it belongs
  if (!alone) buffer.resize(std::max(buffer.size(), run.bytes));
  const std::span into(alone ? out + place_of(wanted[run.begin]) * stride_ : buffer.data(), run.bytes);
  if (wait) file_->read(run.at, into);
  if (!wait && !file_->read_cached(run.at, into)) return false;
  for (size_t i = run.begin; i < run.end && !alone; ++i) {
    const std::byte* row = buffer.data() + (row_of(wanted[i]) * uint64_t{stride_} - run.at);
    std::memcpy(out + place_of(wanted[i]) * stride_, row, stride_);
  }
  return true;
}

}  // namespace stoker::data
