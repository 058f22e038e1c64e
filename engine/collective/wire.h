#pragma once
// What peers say to each other after the handshake of net/handshake.h. docs/formats/peers.md has the grammar.
#include <cstdint>
#include <cstring>

#include "base/codec.h"
#include "net/seal.h"

namespace stoker::collective {

/// (generation, step) in one word, 0 for "nothing yet": a flag in shared memory and a frame both carry it. Words of one
/// generation grow with the step.
using Stamp = uint64_t;
Stamp stamp(uint64_t generation, uint64_t step);
uint64_t generation_of(Stamp stamp);
uint64_t step_of(Stamp stamp);

/// The handshake says who meets whom. On a Unix socket a descriptor follows, and on it 32 random bytes at its start;
/// the listener answers with what it read from there, with zeros on TCP. On a Unix socket the connector then says with
/// one byte, kShared, that it was right.
inline constexpr size_t kNonceBytes = 32;
inline constexpr std::byte kShared{'s'};

enum class FrameKind : uint32_t {
  topology = 1,  ///< payload: u32 ranks that share the sender's host
  region = 2,    ///< index: number of the region, bytes: its size; a descriptor follows instead of a payload
  partials = 3,  ///< index: slice; payload: the host's scalars, then its partials of the slice
  sums = 4,      ///< index: slice; payload: its sums
  word = 6,      ///< payload: what a host's first rank tells the others'
  state = 7,     ///< index: number of the piece; payload: a part of a host's training state
  rows = 8,      ///< index: shard; payload: how many bytes its owner put, then its room
  codes = 9,     ///< index: receiver; payload: the sender's scalars, then its shards' codes of the receiver's slice
  rounds = 10,   ///< index: 0; payload: the numbers of the sender's host's present shards in a round within a step
  areas = 11,    ///< index: shard; payload: what its replica commits for itself
  leave = 5,     ///< index: 0 done, 1 the sender failed or was aborted; the last frame
};

struct FrameHeader {
  FrameKind kind = FrameKind::leave;
  Stamp stamp = 0;
  uint64_t index = 0;
  uint64_t bytes = 0;
  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};
/// A header without its tag.
inline constexpr size_t kNumberBytes = 32;
/// A header as it goes over the wire. A payload follows it with a tag of its own.
inline constexpr size_t kHeaderBytes = kNumberBytes + net::kTagBytes;
/// In the order in which frames are sent. A `leave` is the last one.
Bytes encode(const FrameHeader& header, net::Seal& seal);
/// In the order in which they come; a `leave` at any time. Throws Error(world) on foreign bytes, and on a header that
/// is not the one that was sent next.
FrameHeader decode_header(ByteView head, net::Seal& seal);
/// Whether the bytes are the `leave` of the other end, whatever came before it.
bool is_leave(ByteView head, net::Seal& seal, FrameHeader& header);

}  // namespace stoker::collective
