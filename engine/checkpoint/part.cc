#include "checkpoint/part.h"

#include <algorithm>

namespace stoker::checkpoint {

namespace {

constexpr std::string_view kMagic = "STKC";
constexpr uint32_t kVersion = 1;
constexpr size_t kDigest = 16;  // at the end of the head
constexpr uint64_t kLine = 64;

Bytes without_digest(const PartHead& head) {
  Encoder out;
  for (const char c : kMagic) out.put(c);
  return out.put(kVersion).put(head.commit).put(head.range.begin).put(head.range.size()).take();
}

Hash128 digest_of(ByteView head, ByteView payload) {
  Hash128 digest = hash128(payload);
  return digest += hash128(head, 1);
}

/// Calls body(piece, where it lies in the range) for all that the range has of each section.
template <typename Sections, typename Body>
void for_each_piece(const Sections& sections, Range range, Body body) {
  uint64_t start = 0;
  for (const auto& section : sections) {
    const uint64_t from = std::max(start, range.begin), to = std::min(start + section.size(), range.end);
    if (from < to) body(section.subspan(from - start, to - from), from - range.begin);
    start += section.size();
  }
}

}  // namespace

uint64_t image_bytes(const Image& image) {
  uint64_t bytes = 0;
  for (const auto& section : image) bytes += section.size();
  return bytes;
}

Range part_range(uint64_t bytes, int part, int of) {
  const uint64_t lines = (bytes + kLine - 1) / kLine;
  const auto cut = [&](uint64_t i) { return std::min(bytes, lines * i / of * kLine); };
  return {cut(part), cut(part + 1)};
}

void copy_out(const Image& image, Range range, std::byte* out) {
  for_each_piece(image, range, [&](ByteView piece, uint64_t at) { std::memcpy(out + at, piece.data(), piece.size()); });
}

void copy_in(ByteView bytes, Range range, const WritableImage& image) {
  STOKER_CHECK(bytes.size() == range.size());
  for_each_piece(image, range, [&](std::span<std::byte> piece, uint64_t at) {
    std::memcpy(piece.data(), bytes.data() + at, piece.size());
  });
}

PartHead make_head(uint64_t commit, Range range, ByteView payload) {
  PartHead head{commit, range, {}};
  head.digest = digest_of(without_digest(head), payload);
  return head;
}

Bytes encode(const PartHead& head) {
  Bytes bytes = without_digest(head);
  const Bytes digest = Encoder().put(head.digest.high).put(head.digest.low).take();
  bytes.insert(bytes.end(), digest.begin(), digest.end());
  return bytes;
}

PartHead check_part(ByteView whole) {
  if (whole.size() < kPartHead) fail_world("it is cut short: ", whole.size(), " bytes, less than a part's head");
  if (to_string(whole.first(kMagic.size())) != kMagic) fail_world("it is no part of a Stoker checkpoint");
  Decoder in(whole.subspan(kMagic.size(), kPartHead - kMagic.size()));
  const auto version = in.get<uint32_t>();
  if (version != kVersion) fail_world("it has version ", version, " of the format; this Stoker reads ", kVersion);
  PartHead head;
  head.commit = in.get<uint64_t>();
  head.range.begin = in.get<uint64_t>();
  const auto size = in.get<uint64_t>();
  head.range.end = head.range.begin + size;
  head.digest = {in.get<uint64_t>(), in.get<uint64_t>()};
  const ByteView payload = whole.subspan(kPartHead);
  if (payload.size() != size) fail_world("it has ", payload.size(), " bytes of state and should have ", size);
  if (digest_of(whole.first(kPartHead - kDigest), payload) != head.digest) fail_world("its checksum is wrong");
  return head;
}

}  // namespace stoker::checkpoint
