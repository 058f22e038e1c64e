#include "checkpoint/board.h"

#include <algorithm>

namespace stoker::checkpoint {

namespace {

template <typename Place>
std::vector<Place*> places(const std::vector<std::span<std::byte>>& regions) {
  std::vector<Place*> out;
  for (const auto& region : regions) out.push_back(reinterpret_cast<Place*>(region.data()));
  return out;
}

}  // namespace

size_t Board::bytes_of_rank() { return sizeof(Place); }

Board::Board(const std::vector<std::span<std::byte>>& regions, int me)
    : places_(places<Place>(regions)), mine_(*places_.at(me)) {}

void Board::announce(uint64_t commit) {
  last_ = commit;
  mine_.announced[commit % 2].store(commit, std::memory_order_release);
}

bool Board::announced(uint64_t commit) const {
  return places_[0]->announced[commit % 2].load(std::memory_order_acquire) == commit;
}

void Board::done(uint64_t commit) { mine_.done.store(commit, std::memory_order_release); }

bool Board::all_done() const {
  return std::ranges::all_of(places_, [&](const Place* p) { return p->done.load(std::memory_order_acquire) >= last_; });
}

}  // namespace stoker::checkpoint
