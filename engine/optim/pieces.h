#pragma once
// Tensors cut at blocks, for sums over whole tensors whose order of summation depends on nothing but the arena.
#include <algorithm>
#include <vector>

#include "optim/arena.h"

namespace stoker::optim {

/// A tensor's part of one block.
struct Piece {
  int parameter;
  Extent extent;
};

/// Of all tensors, ascending.
inline std::vector<Piece> pieces_of(const Arena& arena) {
  std::vector<Piece> pieces;
  for (int p = 0; p < static_cast<int>(arena.parameters().size()); ++p) {
    const Extent whole = arena.extent(p);
    for (int64_t at = whole.begin; at < whole.end;) {
      const int64_t end = std::min(whole.end, (at / kBlock + 1) * kBlock);
      pieces.push_back({p, {at, end}});
      at = end;
    }
  }
  std::ranges::sort(pieces, {}, [](const Piece& piece) { return piece.extent.begin; });
  return pieces;
}

/// Calls body(index, part of the range) for each piece that the range meets.
template <typename Body>
void for_each_piece(const std::vector<Piece>& pieces, Extent range, Body body) {
  const auto first =
      std::ranges::partition_point(pieces, [&](const Piece& piece) { return piece.extent.end <= range.begin; });
  for (size_t i = first - pieces.begin(); i < pieces.size() && pieces[i].extent.begin < range.end; ++i)
    body(i, overlap(pieces[i].extent, range));
}

}  // namespace stoker::optim
