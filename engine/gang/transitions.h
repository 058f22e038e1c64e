#pragma once
// What messages and decisions make of a Gang. Pure like membership.h: the coordinator and the simulator both go these
// ways and no other, so what the simulator proves is true of the coordinator. Not thread-safe.
#include "gang/membership.h"

namespace stoker::gang {

/// The member for which this attempt speaks; nullptr for one that was not admitted or is fenced: from its loss on, what
/// its connection may still bring is a stranger's word.
Member* member_of(Gang& gang, const Hello& hello);

/// Puts admit()'s answer into effect; of one that is parked nothing.
void on_hello(Gang& gang, const Hello& hello, const Entry& entry, TimePoint now);
/// Whether a message of this kind, sent in this generation, is void because its generation is over. Throws Error(world)
/// for one that cannot be.
bool is_void(Kind kind, uint64_t generation, const Gang& gang);
/// Whether decide() may say another thing after a message of this kind than before it. What is left changes nothing
/// that it looks at but how long somebody has waited or been idle: the coordinator's next tick sees that early enough.
bool changes_decisions(Kind kind);
/// Returns the replay's error, if it brought other rows. Throws Error(world) when rows are told twice.
std::optional<Error> on_ingested(Gang& gang, Member& member, std::vector<ShardCount> shards);
/// `generation`: in which it was sent.
void on_pong(const Gang& gang, Member& member, const Pong& message, uint64_t generation);
void on_halted(Member& member, Halted message);
void on_lends(Member& member, const Lends& message);
void on_borrowed(const Gang& gang, Member& member, const BorrowedRows& message);
void on_paused(Member& member);
void on_fingerprint(Member& member, Fingerprint message);
void on_loss(Gang& gang, Member& member, Lost lost);
/// While the coordinator itself stood still nobody could be heard.
void on_own_absence(Gang& gang, Duration gap);

/// Training goes on without the rows of this place, until somebody brings them again.
void on_given_up(Gang& gang, int partition);

/// The next generation begins, the newest one is asked to pause, must halt, or another Spark job takes all places.
void on_start(Gang& gang, const Start& start);
void on_pause(Gang& gang);
/// Its members compute alike, but for those of these places, which are let in.
void on_agreed(Gang& gang, const std::vector<int>& let_in);
/// The next generation begins at a lower level.
void on_lowered(Gang& gang);
void on_halt(Gang& gang, TimePoint now, std::string standstill = {});
void on_restart(Gang& gang);

}  // namespace stoker::gang
