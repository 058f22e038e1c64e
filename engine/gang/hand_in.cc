#include "gang/hand_in.h"

#include <algorithm>
#include <utility>

namespace stoker::gang {
namespace {

/// The others halt a moment later, and one of them may be a step ahead.
constexpr auto kSettle = std::chrono::milliseconds(300);

bool somebody_works(const Gang& gang) {
  return std::ranges::any_of(gang.members, [](const auto& entry) { return entry.second.working; });
}

}  // namespace

bool HandIn::asked_is_lost(TimePoint now, const Gang& gang) const {
  const auto lives = [&](const auto& entry) { return is_asked(entry.second) && entry.second.living(); };
  return now - heard_ > patience_ || std::ranges::none_of(gang.members, lives);
}

const Member* HandIn::newest(const Gang& gang) const {
  const Member* best = nullptr;
  for (const auto& [partition, member] : gang.members) {
    const bool may = member.living() && !member.working && !tried_.contains(member.hello.attempt);
    if (may && member.commit > (best ? best->commit : have_)) best = &member;
  }
  return best;
}

HandIn::Next HandIn::next(TimePoint now, const Gang& gang) {
  if (attempt_ && !asked_is_lost(now, gang)) return {};
  attempt_.reset();
  const bool working = somebody_works(gang);
  const Duration since_halt = now - gang.halted_at.value_or(now);
  if (working && since_halt < kSettle) return {};
  const Member* member = newest(gang);
  if (!member) return {{}, !working || since_halt > patience_};
  attempt_ = member->hello.attempt;
  tried_.insert(*attempt_);
  heard_ = now;
  coming_.reset();
  return {member->hello.partition};
}

void HandIn::begin(const Member& member, const Kept& kept, TimePoint now) {
  if (!is_asked(member)) return;
  heard_ = now;
  coming_ = kept;
  state_ = Bytes();
  try {
    state_.reserve(kept.bytes);
  } catch (const std::exception&) {
    fail_world("no memory for a state of ", kept.bytes, " bytes");
  }
}

std::optional<std::pair<Kept, Bytes>> HandIn::add(const Member& member, ByteView chunk, TimePoint now) {
  if (!is_asked(member) || !coming_) return {};
  heard_ = now;
  if (chunk.size() > coming_->bytes - state_.size()) fail_world("a state is longer than announced");
  state_.insert(state_.end(), chunk.begin(), chunk.end());
  if (state_.size() < coming_->bytes) return {};
  attempt_.reset();
  have_ = std::max(have_, coming_->commit);
  return std::pair(*std::exchange(coming_, {}), std::exchange(state_, {}));
}

}  // namespace stoker::gang
