#pragma once
// A frame: what carries one message of a proven connection.
//
//   magic "STF" and version 3 | kind u16 | 0 u16 | length of the body u32 | generation u64 | tag | body | tag
//
// The first tag is of the header before it, the second of the body; without a body there is none (net/seal.h). All
// numbers are little-endian. docs/formats/gang.md has a worked example.
#include <functional>

#include "base/codec.h"
#include "net/seal.h"

namespace stoker::net {

struct Frame {
  uint16_t kind = 0;
  uint64_t generation = 0;
  Bytes body;
};

inline constexpr size_t kFrameHeader = 20 + kTagBytes;

/// The frame's bytes, with room for the tags. Throws Error(bug) when the body is longer than `max_body`, the limit of
/// the connection.
Bytes encode_frame(uint16_t kind, uint64_t generation, ByteView body, size_t max_body);
/// Encrypts the body where the link does, and sets the tags. In the order in which frames are sent.
void seal_frame(Seal& seal, Bytes& frame);

/// Cuts a stream into frames. One object per connection, used by one thread.
class FrameReader {
 public:
  FrameReader(size_t max_body, Seal seal) : max_body_(max_body), seal_(std::move(seal)) {}
  /// Takes bytes as they come and hands on each frame that they complete. Throws Error(world) on a wrong or oversized
  /// header, as soon as it is there, and on what was not sent like this by the other end; the stream is of no use after
  /// that. A length is believed, and a body handed on, once its tag is right.
  void feed(ByteView bytes, const std::function<void(Frame)>& take);
  /// Whether the stream would be cut inside a frame if it ended here.
  bool inside_frame() const { return !pending_.empty(); }

 private:
  size_t missing() const;
  void read_header();
  void read_body();

  size_t max_body_;
  Seal seal_;
  Frame frame_;
  size_t length_ = 0;  // of the body and its tag
  Bytes pending_;      // of the frame at hand: header, then body
};

}  // namespace stoker::net
