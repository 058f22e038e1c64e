#pragma once
// The format of a checkpoint's parts; docs/formats/checkpoint.md has the grammar and a worked example.
//
// An *image* is a committed state as bytes: its sections put end to end. A *part* is one object that holds a range of
// the image, and says by itself whether it is whole. Pure functions.
#include <cstdint>
#include <string>
#include <vector>

#include "base/codec.h"
#include "base/hash.h"

namespace stoker::checkpoint {

/// The sections of a state, each where it lies in memory.
using Image = std::vector<ByteView>;
using WritableImage = std::vector<std::span<std::byte>>;
uint64_t image_bytes(const Image& image);

/// Bytes of the image, from begin to before end.
struct Range {
  uint64_t begin = 0;
  uint64_t end = 0;
  uint64_t size() const { return end - begin; }
};
/// The range of part `part` of `of`: equal shares, cut at whole cache lines.
Range part_range(uint64_t bytes, int part, int of);

/// Copies a range of the image to `out`, which has room for it, and back.
void copy_out(const Image& image, Range range, std::byte* out);
void copy_in(ByteView bytes, Range range, const WritableImage& image);

struct PartHead {
  uint64_t commit = 0;
  Range range;
  Hash128 digest;  // of all that the part says
};
inline constexpr size_t kPartHead = 48;  // bytes before the payload

PartHead make_head(uint64_t commit, Range range, ByteView payload);
Bytes encode(const PartHead& head);
/// Throws Error(world) that says what is wrong with a torn, truncated or foreign part.
PartHead check_part(ByteView whole);

}  // namespace stoker::checkpoint
