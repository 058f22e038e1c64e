#include "gang/transitions.h"

#include <algorithm>

#include "gang/alike.h"

namespace stoker::gang {
namespace {

/// Messages that speak of a generation's work, and are void once it is over.
bool of_generation(Kind kind) {
  return kind == Kind::metrics || kind == Kind::fetch || kind == Kind::result_begin || kind == Kind::result_chunk ||
         kind == Kind::finished || kind == Kind::halted || kind == Kind::holding || kind == Kind::digest ||
         kind == Kind::borrowed || kind == Kind::paused || kind == Kind::state_begin || kind == Kind::state_chunk;
}

int64_t step_of(const Gang& gang) {
  int64_t step = -1;
  for (const auto& [partition, member] : gang.members) step = std::max(step, member.step);
  return step;
}

/// A worker that is silent again where it was before may just be slow there.
void after_silence(Gang& gang, const Member& member) {
  const int64_t step = step_of(gang);
  const auto [before, first] = gang.silent_at.try_emplace(member.hello.partition, step);
  if (!first && before->second == step) gang.patience *= 2;
  before->second = step;
}

/// So may all be whose training threads are stuck at one step: they run the same operators.
void after_standstill(Gang& gang) {
  const int64_t step = step_of(gang);
  if (gang.stuck_at == step) gang.patience *= 2;
  gang.stuck_at = step;
}

/// What others have of these shards are not the fit's rows any more.
void forget_lent(Gang& gang, const std::vector<ShardCount>& shards) {
  for (const ShardCount& shard : shards) gang.read_anew.insert(shard.shard);
  for (auto& [partition, member] : gang.members)
    for (const ShardCount& shard : shards) member.borrowed.erase(shard.shard);
}

}  // namespace

Member* member_of(Gang& gang, const Hello& hello) {
  const auto found = gang.members.find(hello.partition);
  if (found == gang.members.end()) return nullptr;
  Member& member = found->second;
  return member.hello.attempt == hello.attempt && !member.lost ? &member : nullptr;
}

void on_hello(Gang& gang, const Hello& hello, const Entry& entry, TimePoint now) {
  if (!gang.first_hello) gang.first_hello = now;
  if (entry.park) return;
  if (entry.verdict == Admission::Verdict::duplicate) gang.released.insert(hello.partition);
  if (entry.verdict != Admission::Verdict::go) return;
  gang.released.erase(hello.partition);
  gang.members[hello.partition] = {.hello = hello, .last_heard = now};
}

bool is_void(Kind kind, uint64_t generation, const Gang& gang) {
  if (generation > gang.generation) fail_world("a message of generation ", generation, ", not begun yet");
  if (!of_generation(kind)) return false;
  if (gang.generation == 0) fail_world("a message before the start, kind ", static_cast<int>(kind));
  return generation < gang.generation;
}

bool changes_decisions(Kind kind) {
  return kind != Kind::pong && kind != Kind::metrics && kind != Kind::ingesting && kind != Kind::checkpoint &&
         kind != Kind::holding && kind != Kind::digest && kind != Kind::fetch;
}

std::optional<Error> on_ingested(Gang& gang, Member& member, std::vector<ShardCount> shards) {
  if (member.shards) fail_world("the rows were told twice");
  const auto changed = changed_rows(member, shards, gang);
  for (const ShardCount& shard : shards) gang.registered[shard.shard] = shard;
  if (changed) forget_lent(gang, shards);
  gang.changed_rows |= changed.has_value();
  auto& own = gang.shards_of[member.hello.partition];
  own.clear();
  for (const ShardCount& shard : shards) own.push_back(shard.shard);
  member.shards = std::move(shards);
  gang.vanished_at.erase(member.hello.partition);
  return changed;
}

void on_pong(const Gang& gang, Member& member, const Pong& message, uint64_t generation) {
  member.step = std::max(member.step, message.step);
  member.idle = message.idle;
  if (generation != gang.generation) return;  // what it waited for is over
  member.waiting = message.waiting;
  member.awaits = message.awaits;
}

void on_halted(Member& member, Halted message) {
  member.working = false;
  member.commit = message.commit;
  member.stumble = std::move(message.cause);
}

void on_lends(Member& member, const Lends& message) { member.lends = message.any; }

void on_borrowed(const Gang& gang, Member& member, const BorrowedRows& message) {
  member.borrowed = {message.shards.begin(), message.shards.end()};
  std::erase_if(member.borrowed, [&](int shard) { return gang.read_anew.contains(shard); });
}

void on_paused(Member& member) { member.paused = true; }

void on_fingerprint(Member& member, Fingerprint message) { member.fingerprint = std::move(message); }

void on_loss(Gang& gang, Member& member, Lost lost) {
  if (lost.how == Loss::silent) after_silence(gang, member);
  if (lost.how == Loss::stuck) after_standstill(gang);
  if (lost.how == Loss::refused) ++gang.refusals[member.hello.partition];
  if (lost.how == Loss::vanished && !member.shards) gang.vanished_at[member.hello.partition] = member.rows;
  member.lost = std::move(lost);
  member.working = false;
  ++gang.losses;
}

void on_given_up(Gang& gang, int partition) { gang.given_up.insert(partition); }

void on_own_absence(Gang& gang, Duration gap) {
  for (auto& [partition, member] : gang.members) member.last_heard += gap;
  if (gang.halted_at) *gang.halted_at += gap;
}

void on_start(Gang& gang, const Start& start) {
  gang.stumbles = stumbles(gang, start.commit);
  gang.losses_before = gang.losses;
  gang.commit_before = start.commit;
  gang.generation = start.roster.generation;
  gang.isa = start.isa;
  gang.ranks = static_cast<int>(start.roster.members.size());
  gang.running = true;
  gang.halted_at.reset();
  gang.standstill.clear();
  gang.pausing = false;
  gang.agreed = false;
  gang.read_anew.clear();
  for (auto& [partition, member] : gang.members) {
    const auto is_it = [&](const RosterEntry& rank) { return rank.attempt == member.hello.attempt; };
    member.working = std::ranges::any_of(start.roster.members, is_it);
    member.paused = false;
    member.stumble.clear();
    member.waiting = 0;
    member.awaits.clear();
    if (member.working) member.generation = gang.generation;
    if (member.working) member.lent = member.lends.value_or(false);
  }
}

void on_pause(Gang& gang) { gang.pausing = true; }

void on_agreed(Gang& gang, const std::vector<int>& let_in) {
  gang.fingerprint = common_fingerprint(gang);
  gang.agreed = true;
  for (const int partition : let_in) gang.members.at(partition).let_in = true;
  for (const auto& [partition, member] : gang.members) {
    if (member.working) gang.refusals.erase(partition);
  }
}

void on_lowered(Gang& gang) {
  --gang.isa;
  gang.lowered = true;
  gang.refusals.clear();
}

void on_halt(Gang& gang, TimePoint now, std::string standstill) {
  gang.running = false;
  gang.halted_at = now;
  gang.standstill = std::move(standstill);
}

void on_restart(Gang& gang) {
  ++gang.job;
  gang.restarting = false;
  gang.members.clear();
  gang.released.clear();
  gang.shards_of.clear();
  gang.given_up.clear();
  gang.first_hello.reset();
}

}  // namespace stoker::gang
