#pragma once
// A frame: what carries one message of an authenticated connection.
//
//   magic "STF" and version 2 | kind u16 | 0 u16 | length of the body u32 | generation u64 | check u64 | body
//
// The check is XXH3-64 of the header before it, seeded with that of the body. All numbers are little-endian.
// docs/formats/gang.md has a worked example.
#include <functional>

#include "base/codec.h"

namespace stoker::net {

struct Frame {
  uint16_t kind = 0;
  uint64_t generation = 0;
  Bytes body;
};

inline constexpr size_t kFrameHeader = 28;

/// The frame's bytes. Throws Error(bug) when the body is longer than `max_body`, the limit of the connection.
Bytes encode_frame(uint16_t kind, uint64_t generation, ByteView body, size_t max_body);

/// Cuts a stream into frames. One object per connection, used by one thread.
class FrameReader {
 public:
  explicit FrameReader(size_t max_body) : max_body_(max_body) {}
  /// Takes bytes as they come and hands on each frame that they complete. Throws Error(world) on a wrong or oversized
  /// header, as soon as it is there, and on a frame that was spoilt; the stream is of no use after that.
  void feed(ByteView bytes, const std::function<void(Frame)>& take);
  /// Whether the stream would be cut inside a frame if it ended here.
  bool inside_frame() const { return !pending_.empty(); }

 private:
  size_t missing() const;
  void read_header();

  size_t max_body_;
  Frame frame_;
  size_t length_ = 0;
  uint64_t check_ = 0;
  Bytes pending_;  // of the frame at hand: header, then body
};

}  // namespace stoker::net
