#include "data/read/image_batch.h"

#include <cstring>
#include <type_traits>

#include "base/error.h"
#include "base/hash.h"

namespace stoker::data {
namespace {

/// 0 to `most`, by 16 bits of a draw: for the few pixels of a crop's play their unevenness does not count.
int below_or_at(int most, uint64_t draw) {
  return static_cast<int>((draw & 0xffff) * (static_cast<uint64_t>(most) + 1) >> 16);
}

/// One line of one plane: pixel * factor + shift.
template <typename T>
void widen_line(const uint8_t* from, int width, bool flipped, T factor, T shift, std::byte* to) {
  const auto put = [&](int x, uint8_t pixel) {
    const T value = static_cast<T>(pixel) * factor + shift;
    std::memcpy(to + x * sizeof(T), &value, sizeof(T));
  };
  if (flipped)
    for (int x = 0; x < width; ++x) put(x, from[width - 1 - x]);
  else
    for (int x = 0; x < width; ++x) put(x, from[x]);
}

template <typename T>
void widen_image(const ImageSpec& spec, const Cut& cut, const uint8_t* from, std::byte* to) {
  const size_t line = spec.crop.width * sizeof(T);
  for (int c = 0; c < spec.channels; ++c, from += spec.size.pixels()) {
    const double scaled = 255 * spec.deviation[c];
    const T factor = static_cast<T>(1 / scaled), shift = static_cast<T>(-spec.mean[c] / spec.deviation[c]);
    for (int y = 0; y < spec.crop.height; ++y, to += line) {
      const uint8_t* at = from + static_cast<size_t>(cut.top + y) * spec.size.width + cut.left;
      widen_line(at, spec.crop.width, cut.flipped, factor, shift, to);
    }
  }
}

}  // namespace

Cut cut_of(const ImageSpec& spec, const Draws* draws, int64_t row) {
  const int down = spec.size.height - spec.crop.height, across = spec.size.width - spec.crop.width;
  if (draws == nullptr) return {down / 2, across / 2, false};
  const uint64_t draw = splitmix64(draws->key, draws->first + row);
  return {below_or_at(down, draw), below_or_at(across, draw >> 16), spec.flip && (draw >> 32 & 1) != 0};
}

void widen_images(const FieldSpec& field, const std::byte* from, size_t from_stride, const uint32_t* rows,
                  int64_t count, DType tensor, std::byte* to, size_t to_stride, const Draws* draws) {
  const ImageSpec& spec = *field.image;
  with_dtype(tensor, [&]<typename T>(T) {
    if constexpr (std::is_floating_point_v<T>) {
      for (int64_t i = 0; i < count; ++i) {
        const auto* planes = reinterpret_cast<const uint8_t*>(from + (rows ? rows[i] : i) * from_stride);
        widen_image<T>(spec, cut_of(spec, draws, i), planes, to + i * to_stride);
      }
    } else {
      fail_bug("pictures give floats, not ", name(tensor));
    }
  });
}

}  // namespace stoker::data
