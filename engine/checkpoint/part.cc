#include "checkpoint/part.h"

#include <algorithm>
#include <cstddef>

#include "base/pieces.h"

namespace stoker::checkpoint {

namespace {

constexpr std::string_view kMagic = "STKC";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kLine = 64;

/// A head as it is written.
struct Written {
  char magic[4];
  uint32_t version;
  uint64_t commit, begin, bytes;
  Hash128 digest;
};
static_assert(sizeof(Written) == kPartHead && offsetof(Written, digest) == 32);

Written written(const PartHead& head) {
  Written out{{}, kVersion, head.commit, head.range.begin, head.range.size(), head.digest};
  kMagic.copy(out.magic, sizeof(out.magic));
  return out;
}

Hash128 digest_of(const Written& head, ByteView payload) {
  Hash128 digest = hash128(payload);
  return digest += hash128(std::as_bytes(std::span(&head, 1)).first(offsetof(Written, digest)), 1);
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
  for_each_piece(image, range, [&](ByteView piece, uint64_t at) { copy_bytes(piece, out + at); });
}

void copy_in(ByteView bytes, Range range, const WritableImage& image) {
  STOKER_CHECK(bytes.size() == range.size());
  for_each_piece(image, range, [&](std::span<std::byte> piece, uint64_t at) {
    copy_bytes(bytes.subspan(at, piece.size()), piece.data());
  });
}

PartHead make_head(uint64_t commit, Range range, ByteView payload) {
  PartHead head{commit, range, {}};
  head.digest = digest_of(written(head), payload);
  return head;
}

Bytes encode(const PartHead& head) {
  const Written out = written(head);
  const auto bytes = std::as_bytes(std::span(&out, 1));
  return {bytes.begin(), bytes.end()};
}

PartHead check_part(ByteView whole) {
  if (whole.size() < kPartHead) fail_world("it is cut short: ", whole.size(), " bytes, less than a part's head");
  Written in;
  std::memcpy(&in, whole.data(), kPartHead);
  if (std::string_view(in.magic, sizeof(in.magic)) != kMagic) fail_world("it is no part of a Stoker checkpoint");
  if (in.version != kVersion) fail_world("it has version ", in.version, " of the format; this Stoker reads ", kVersion);
  const ByteView payload = whole.subspan(kPartHead);
  if (payload.size() != in.bytes) fail_world("it has ", payload.size(), " bytes of state and should have ", in.bytes);
  if (digest_of(in, payload) != in.digest) fail_world("its checksum is wrong");
  return {in.commit, {in.begin, in.begin + in.bytes}, in.digest};
}

}  // namespace stoker::checkpoint
