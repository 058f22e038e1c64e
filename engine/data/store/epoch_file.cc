#include "data/store/epoch_file.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "data/store/column_store.h"

namespace stoker::data {
namespace {

constexpr size_t kLeastWrite = 4 << 10;
constexpr size_t kMostWrite = 512 << 10;
constexpr size_t kReadBytes = 1 << 20;
constexpr uint64_t kTable = 4096;  // entries
constexpr uint64_t kReserved = 64 << 20;

/// Which part a place is in: by a table that is off by the few parts that begin within one of its steps.
class PartOf {
 public:
  explicit PartOf(const std::vector<int64_t>& ends) : ends_(ends) {
    const auto places = static_cast<uint64_t>(ends.back());
    shift_ = std::max(0, static_cast<int>(std::bit_width(places)) - static_cast<int>(std::bit_width(kTable - 1)));
    size_t part = 0;
    for (uint64_t place = 0; place < places; place += uint64_t{1} << shift_) {
      while (static_cast<int64_t>(place) >= ends[part]) ++part;
      table_.push_back(static_cast<uint32_t>(part));
    }
  }
  size_t operator()(uint32_t place) const {
    size_t part = table_[place >> shift_];
    while (place >= ends_[part]) ++part;
    return part;
  }

 private:
  const std::vector<int64_t>& ends_;
  int shift_ = 0;
  std::vector<uint32_t> table_;
};

}  // namespace

/// A part while it is written.
struct EpochFile::Out {
  std::span<std::byte> buffer;
  size_t filled = 0;
  uint64_t at = 0;

  void flush(SpillFile& file) {
    file.write(at, buffer.first(filled));
    at += filled;
    filled = 0;
  }
};

/// Some file systems write what they allocate.
void EpochFile::reserve(int64_t rows, Course& course) {
  const uint64_t bytes = rows * entry();
  for (uint64_t at = 0; at < bytes && !course.stopped; ++course.moved) {
    at += std::min<uint64_t>(bytes - at, kReserved);
    file_.reserve(0, at);
  }
}

size_t EpochFile::least_bytes(size_t parts) const { return parts * std::max(entry(), kLeastWrite); }

void EpochFile::deal(const ColumnStore& store, std::span<const uint32_t> place, std::vector<int64_t> ends,
                     std::span<std::byte> buffers, Course& course) {
  STOKER_CHECK(!ends.empty() && ends.back() > 0 && buffers.size() >= least_bytes(ends.size()));
  ends_ = std::move(ends);
  file_.renew();
  const size_t size = std::clamp(buffers.size() / ends_.size(), entry(), std::max(entry(), kMostWrite));
  std::vector<Out> outs;
  for (size_t part = 0; part < ends_.size(); ++part)
    outs.push_back({buffers.subspan(part * size, size / entry() * entry()), 0, begin_of(part) * entry()});
  const PartOf part_of(ends_);
  const auto take = [&](int64_t first, std::span<const std::byte> rows) {
    for (size_t from = 0; from < rows.size(); from += stride_, ++first) {
      if (place[first] == kUnused) continue;
      Out& out = outs[part_of(place[first])];
      std::memcpy(out.buffer.data() + out.filled, &place[first], sizeof(uint32_t));
      std::memcpy(out.buffer.data() + out.filled + sizeof(uint32_t), rows.data() + from, stride_);
      out.filled += entry();
      if (out.filled == out.buffer.size()) out.flush(file_);
    }
  };
  store.each(take, course);
  for (size_t part = 0; part < outs.size() && !course.stopped; ++part, ++course.moved) outs[part].flush(file_);
}

void EpochFile::read(size_t part, std::byte* out, Course& course) const {
  const int64_t piece = std::max<int64_t>(1, kReadBytes / entry());
  std::vector<std::byte> buffer;
  for (int64_t at = begin_of(part); at < ends_[part] && !course.stopped; at += piece, ++course.moved) {
    buffer.resize(std::min(piece, ends_[part] - at) * entry());
    file_.read_on(at * entry(), buffer);
    for (size_t from = 0; from < buffer.size(); from += entry()) {
      uint32_t place;
      std::memcpy(&place, buffer.data() + from, sizeof place);
      std::memcpy(out + (place - begin_of(part)) * stride_, buffer.data() + from + sizeof place, stride_);
    }
  }
}

}  // namespace stoker::data
