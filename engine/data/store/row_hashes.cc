#include "data/store/row_hashes.h"

#include <algorithm>

#include "base/pieces.h"

namespace stoker::data {
namespace {
constexpr size_t kPiece = 64 << 10;  // hashes
}

void RowHashes::append(std::span<const Hash128> hashes) {
  if (file_) file_->write(count_ * sizeof(Hash128), std::as_bytes(hashes));
  count_ += static_cast<int64_t>(hashes.size());
  while (!file_ && !hashes.empty()) {
    if (memory_.empty() || memory_.back().size() == kPiece) memory_.emplace_back().reserve(kPiece);
    auto& piece = memory_.back();
    const size_t n = std::min(hashes.size(), kPiece - piece.size());
    piece.insert(piece.end(), hashes.begin(), hashes.begin() + static_cast<ptrdiff_t>(n));
    hashes = hashes.subspan(n);
  }
}

void RowHashes::rewind(int64_t rows) {
  count_ = rows;
  if (file_) return;
  memory_.resize((static_cast<size_t>(rows) + kPiece - 1) / kPiece);
  if (rows % kPiece != 0) memory_.back().resize(rows % kPiece);
}

void RowHashes::move_to_disk(const SpillOptions& options) {
  auto file = std::make_unique<SpillFile>(options);
  each([&](int64_t first, std::span<const Hash128> hashes) {
    file->write(first * sizeof(Hash128), std::as_bytes(hashes));
  });
  file_ = std::move(file);
  memory_ = {};
}

void RowHashes::each(const std::function<void(int64_t, std::span<const Hash128>)>& f) const {
  std::vector<Hash128> read;
  in_pieces(count_, kPiece, [&](size_t begin, size_t count) {
    if (!file_) return f(static_cast<int64_t>(begin), memory_[begin / kPiece]);
    read.resize(count);
    file_->read(begin * sizeof(Hash128), std::as_writable_bytes(std::span(read)));
    f(static_cast<int64_t>(begin), read);
  });
}

}  // namespace stoker::data
