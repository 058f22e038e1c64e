#include "collective/wire.h"

namespace stoker::collective {
namespace {

constexpr int kStepBits = 40;
constexpr uint32_t kMagic = 0x334b5453;  // "STK3"

Bytes encode_numbers(const FrameHeader& h) {
  return Encoder().put(kMagic).put(h.kind).put(h.stamp).put(h.index).put(h.bytes).take();
}

/// False on foreign bytes.
bool decode_numbers(ByteView bytes, FrameHeader& header) {
  Decoder in(bytes);
  if (in.get<uint32_t>() != kMagic) return false;
  header.kind = in.get<FrameKind>();
  header.stamp = in.get<Stamp>();
  header.index = in.get<uint64_t>();
  header.bytes = in.get<uint64_t>();
  return true;
}

void begin(net::Seal& seal, FrameKind kind) { kind == FrameKind::leave ? seal.begin_last() : seal.begin(); }

bool fits(ByteView head, net::Seal& seal, FrameKind kind) {
  begin(seal, kind);
  seal.cover(head.first(kNumberBytes));
  return seal.fits(head.subspan(kNumberBytes));
}

}  // namespace

Stamp stamp(uint64_t generation, uint64_t step) {
  STOKER_CHECK(generation < (uint64_t{1} << (64 - kStepBits)) && step + 1 < (uint64_t{1} << kStepBits));
  return generation << kStepBits | (step + 1);
}

uint64_t generation_of(Stamp stamp) { return stamp >> kStepBits; }
uint64_t step_of(Stamp stamp) { return (stamp & ((uint64_t{1} << kStepBits) - 1)) - 1; }

Bytes encode(const FrameHeader& header, net::Seal& seal) {
  Bytes head = encode_numbers(header);
  begin(seal, header.kind);
  seal.cover(head);
  const net::Tag tag = seal.tag();
  head.insert(head.end(), tag.begin(), tag.end());
  return head;
}

FrameHeader decode_header(ByteView head, net::Seal& seal) {
  FrameHeader header;
  if (!decode_numbers(head.first(kNumberBytes), header)) fail_world("a frame begins with foreign bytes");
  if (!fits(head, seal, header.kind))
    fail_world("a frame is not what was sent next: its header was spoilt, moved or forged");
  return header;
}

bool is_leave(ByteView head, net::Seal& seal, FrameHeader& header) {
  return decode_numbers(head.first(kNumberBytes), header) && header.kind == FrameKind::leave &&
         fits(head, seal, header.kind);
}

}  // namespace stoker::collective
