#include "net/frame.h"

#include <algorithm>
#include <utility>

namespace stoker::net {
namespace {

constexpr uint32_t kMagic = 'S' | 'T' << 8 | 'F' << 16 | 3 << 24;
constexpr size_t kNumbers = kFrameHeader - kTagBytes;

/// With its tag.
size_t sealed_size(size_t body) { return body == 0 ? 0 : body + kTagBytes; }

}  // namespace

Bytes encode_frame(uint16_t kind, uint64_t generation, ByteView body, size_t max_body) {
  if (body.size() > max_body) fail_bug("message of ", body.size(), " bytes; at most ", max_body, " fit a frame");
  Bytes bytes(kFrameHeader + sealed_size(body.size()));
  std::byte* to = bytes.data();
  const auto put = [&to](auto number) { to = std::ranges::copy(std::as_bytes(std::span(&number, 1)), to).out; };
  put(kMagic), put(kind), put(uint16_t{0}), put(static_cast<uint32_t>(body.size())), put(generation);
  std::ranges::copy(body, bytes.begin() + kFrameHeader);
  return bytes;
}

void seal_frame(Seal& seal, Bytes& frame) {
  const auto bytes = std::span(frame);
  std::ranges::copy(seal.tag_of(bytes.first(kNumbers)), frame.begin() + kNumbers);
  if (frame.size() == kFrameHeader) return;
  seal.begin();
  seal.pass(bytes.subspan(kFrameHeader, bytes.size() - kFrameHeader - kTagBytes));
  std::ranges::copy(seal.tag(), frame.end() - kTagBytes);
}

size_t FrameReader::missing() const {
  return (pending_.size() < kFrameHeader ? kFrameHeader : kFrameHeader + length_) - pending_.size();
}

void FrameReader::read_header() {
  const ByteView header = pending_;
  Decoder in(header.first(kNumbers));
  if (in.get<uint32_t>() != kMagic) fail_world("a frame with a wrong magic or version");
  frame_.kind = in.get<uint16_t>();
  if (in.get<uint16_t>() != 0) fail_world("a frame whose reserved field is not zero");
  const size_t body = in.get<uint32_t>();
  frame_.generation = in.get<uint64_t>();
  if (!seal_.fits(header.first(kNumbers), header.subspan(kNumbers)))
    fail_world("a frame is not what the other side sent next: its header was spoilt, moved or forged");
  if (body > max_body_) fail_world("a frame of ", body, " bytes; at most ", max_body_, " are allowed");
  length_ = sealed_size(body);
}

void FrameReader::read_body() {
  frame_.body.assign(pending_.begin() + kFrameHeader, pending_.end());
  if (frame_.body.empty()) return;
  const size_t size = frame_.body.size() - kTagBytes;
  seal_.begin();
  seal_.pass(std::span(frame_.body).first(size));
  if (!seal_.fits(ByteView(frame_.body).subspan(size)))
    fail_world("a frame of kind ", frame_.kind, " is not what the other side sent: it was spoilt or forged");
  frame_.body.resize(size);
}

void FrameReader::feed(ByteView bytes, const std::function<void(Frame)>& take) {
  while (!bytes.empty()) {
    const size_t n = std::min(missing(), bytes.size());
    pending_.insert(pending_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(n));
    bytes = bytes.subspan(n);
    if (pending_.size() == kFrameHeader) read_header();
    if (pending_.size() < kFrameHeader || missing() > 0) continue;
    read_body();
    pending_.clear();
    take(std::exchange(frame_, {}));
  }
}

}  // namespace stoker::net
