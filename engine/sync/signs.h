#pragma once
// A vector told by signs: each of its numbers that reaches a threshold as plus or minus the threshold. Pure.
//
// A message is a SignsHead and words of 32 bits: for each number that is told its place and, in the lowest bit, whether
// it is negative; or, where that is shorter, two bits of every number of the vector, the lowest ones first: 0 not told,
// 1 plus, 2 minus.
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/codec.h"
#include "optim/arena.h"

namespace stoker::sync {

struct SignsHead {
  float step = 0;  // what is told of each number, the threshold; NaN where the vector is not finite
  uint32_t count = 0;
};

/// What the longest message takes. `floats`: of the vector, a multiple of 16 below 2^31.
size_t signs_room(int64_t floats);

/// Writes the message of a vector and takes out of it what it tells; of what is left of a number that is told no more
/// than `limit` stays. Numbers that are not finite are told, too. Nothing is told, and all is left, where `step` is not
/// above 0.
/// REQUIRES: a message of signs_room(), aligned to 8 bytes.
SignsHead take_signs(float* vector, int64_t floats, float step, float limit, std::span<std::byte> message);
/// Of a message.
size_t signs_bytes(SignsHead head, int64_t floats);

/// Adds what a message tells of a part, to a pointer to the vector's base. `floats`: of the whole vector. Throws
/// Error(world) where the message is shorter than it says.
void add_signs(ByteView message, int64_t floats, optim::Extent part, float* vector);

}  // namespace stoker::sync
