#include "collective/wire.h"

#include "base/hash.h"

namespace stoker::collective {
namespace {

constexpr int kStepBits = 40;
constexpr uint32_t kMagic = 0x324b5453;  // "STK2"
constexpr size_t kChecked = kHeaderBytes - sizeof(uint64_t);

}  // namespace

Stamp stamp(uint64_t generation, uint64_t step) {
  STOKER_CHECK(generation < (uint64_t{1} << (64 - kStepBits)) && step + 1 < (uint64_t{1} << kStepBits));
  return generation << kStepBits | (step + 1);
}

uint64_t generation_of(Stamp stamp) { return stamp >> kStepBits; }
uint64_t step_of(Stamp stamp) { return (stamp & ((uint64_t{1} << kStepBits) - 1)) - 1; }

Bytes encode(const Introduction& i) { return Encoder().put(i.generation).put(i.from).put(i.to).take(); }

Introduction decode_introduction(ByteView bytes) {
  Decoder in(bytes);
  Introduction i;
  i.generation = in.get<uint64_t>();
  i.from = in.get<uint32_t>();
  i.to = in.get<uint32_t>();
  in.done();
  return i;
}

Bytes encode(const FrameHeader& h, uint64_t payload) {
  Encoder out;
  out.put(kMagic).put(h.kind).put(h.stamp).put(h.index).put(h.bytes);
  return out.put(checksum(out.view(), payload)).take();
}

bool arrived_whole(ByteView head, uint64_t payload) {
  return Decoder(head.subspan(kChecked)).get<uint64_t>() == checksum(head.first(kChecked), payload);
}

bool try_decode_header(ByteView bytes, FrameHeader& header) {
  Decoder in(bytes.first(kChecked));
  if (in.get<uint32_t>() != kMagic) return false;
  header.kind = in.get<FrameKind>();
  header.stamp = in.get<Stamp>();
  header.index = in.get<uint64_t>();
  header.bytes = in.get<uint64_t>();
  in.done();
  return true;
}

FrameHeader decode_header(ByteView bytes) {
  FrameHeader header;
  if (!try_decode_header(bytes, header)) fail_world("a frame begins with foreign bytes");
  return header;
}

}  // namespace stoker::collective
