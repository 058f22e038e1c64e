#pragma once
// What peers say to each other after the handshake of net/handshake.h. docs/formats/peers.md has the grammar.
#include <cstdint>
#include <cstring>

#include "base/codec.h"

namespace stoker::collective {

/// (generation, step) in one word, 0 for "nothing yet": a flag in shared memory and a frame both carry it. Words of one
/// generation grow with the step.
using Stamp = uint64_t;
Stamp stamp(uint64_t generation, uint64_t step);
uint64_t generation_of(Stamp stamp);
uint64_t step_of(Stamp stamp);

/// Connector to listener, once the secret is proven. On a Unix socket a descriptor follows, and on it 32 random bytes
/// at its start.
struct Introduction {
  uint64_t generation = 0;
  uint32_t from = 0;
  uint32_t to = 0;
};
inline constexpr size_t kIntroductionBytes = 16;
Bytes encode(const Introduction& introduction);
Introduction decode_introduction(ByteView bytes);

/// The listener's answer. `nonce` is what it read from the descriptor, zeros on TCP. On a Unix socket the connector
/// then says with one byte, kShared, that it was right.
inline constexpr size_t kNonceBytes = 32;
inline constexpr std::byte kShared{'s'};

enum class FrameKind : uint32_t {
  topology = 1,  ///< payload: u32 ranks that share the sender's host
  region = 2,    ///< index: number of the region, bytes: its size; a descriptor follows instead of a payload
  partials = 3,  ///< index: slice; payload: the host's scalars, then its partials of the slice
  sums = 4,      ///< index: slice; payload: its sums
  word = 6,      ///< payload: what a host's first rank tells the others'
  state = 7,     ///< index: number of the piece; payload: a part of a host's training state
  leave = 5,     ///< index: 0 done, 1 the sender failed or was aborted; the last frame
};

struct FrameHeader {
  FrameKind kind = FrameKind::leave;
  Stamp stamp = 0;
  uint64_t index = 0;
  uint64_t bytes = 0;
  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};
inline constexpr size_t kHeaderBytes = 40;
/// checksum() of a payload without bytes.
inline constexpr uint64_t kNothing = 0x2d06800538d394c2;
/// The header as it goes over the wire, with a check over itself and the payload, whose checksum() is `payload`.
Bytes encode(const FrameHeader& header, uint64_t payload = kNothing);
/// Throws Error(world) on foreign bytes. The check is not looked at: see arrived_whole().
FrameHeader decode_header(ByteView bytes);
/// False on foreign bytes.
bool try_decode_header(ByteView bytes, FrameHeader& header);
/// Whether an encoded header and the payload with this checksum() are what was sent.
bool arrived_whole(ByteView head, uint64_t payload = kNothing);

}  // namespace stoker::collective
