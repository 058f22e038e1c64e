#include "net/frame.h"

#include <algorithm>
#include <utility>

#include "base/fault.h"
#include "base/hash.h"

namespace stoker::net {
namespace {

constexpr uint32_t kMagic = 'S' | 'T' << 8 | 'F' << 16 | 2 << 24;
constexpr size_t kChecked = kFrameHeader - sizeof(uint64_t);

uint64_t check_of(ByteView header, ByteView body) { return checksum(header.first(kChecked), checksum(body)); }

Bytes header_of(uint16_t kind, uint64_t generation, ByteView body) {
  Encoder out;
  out.put(kMagic).put(kind).put(uint16_t{0});
  out.put(static_cast<uint32_t>(body.size())).put(generation);
  return out.put(check_of(out.view(), body)).take();
}

}  // namespace

Bytes encode_frame(uint16_t kind, uint64_t generation, ByteView body, size_t max_body) {
  if (body.size() > max_body) fail_bug("message of ", body.size(), " bytes; at most ", max_body, " fit a frame");
  Bytes bytes = header_of(kind, generation, body);
  bytes.insert(bytes.end(), body.begin(), body.end());
  fault::frame("link", bytes);
  return bytes;
}

size_t FrameReader::missing() const {
  return (pending_.size() < kFrameHeader ? kFrameHeader : kFrameHeader + length_) - pending_.size();
}

void FrameReader::read_header() {
  Decoder in(ByteView(pending_).first(kFrameHeader));
  if (in.get<uint32_t>() != kMagic) fail_world("a frame with a wrong magic or version");
  frame_.kind = in.get<uint16_t>();
  if (in.get<uint16_t>() != 0) fail_world("a frame whose reserved field is not zero");
  length_ = in.get<uint32_t>();
  frame_.generation = in.get<uint64_t>();
  check_ = in.get<uint64_t>();
  if (length_ > max_body_) fail_world("a frame of ", length_, " bytes; at most ", max_body_, " are allowed");
}

void FrameReader::feed(ByteView bytes, const std::function<void(Frame)>& take) {
  while (!bytes.empty()) {
    const size_t n = std::min(missing(), bytes.size());
    pending_.insert(pending_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
    bytes = bytes.subspan(n);
    if (pending_.size() == kFrameHeader) read_header();
    if (pending_.size() < kFrameHeader || missing() > 0) continue;
    frame_.body.assign(pending_.begin() + kFrameHeader, pending_.end());
    if (check_of(pending_, frame_.body) != check_) fail_world("a frame arrived damaged, kind ", frame_.kind);
    pending_.clear();
    take(std::exchange(frame_, {}));
  }
}

}  // namespace stoker::net
