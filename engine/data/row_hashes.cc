#include "data/row_hashes.h"

#include <algorithm>

namespace stoker::data {
namespace {
constexpr int64_t kPiece = 64 << 10;  // hashes
}

void RowHashes::append(std::span<const Hash128> hashes) {
  if (file_)
    file_->write(count_ * sizeof(Hash128), std::as_bytes(hashes));
  else
    memory_.insert(memory_.end(), hashes.begin(), hashes.end());
  count_ += static_cast<int64_t>(hashes.size());
}

void RowHashes::rewind(int64_t rows) {
  count_ = rows;
  if (!file_) memory_.resize(rows);
}

void RowHashes::move_to_disk(const SpillOptions& options) {
  file_ = std::make_unique<SpillFile>(options);
  file_->write(0, std::as_bytes(std::span(memory_)));
  memory_ = {};
}

void RowHashes::each(const std::function<void(int64_t, std::span<const Hash128>)>& f) const {
  if (!file_) return f(0, memory_);
  std::vector<Hash128> piece;
  for (int64_t begin = 0; begin < count_; begin += kPiece) {
    piece.resize(std::min(kPiece, count_ - begin));
    file_->read(begin * sizeof(Hash128), std::as_writable_bytes(std::span(piece)));
    f(begin, piece);
  }
}

}  // namespace stoker::data
