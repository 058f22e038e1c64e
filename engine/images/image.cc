#include "images/image.h"

#include <utility>

namespace stoker::images {
namespace {

/// 0.299 r + 0.587 g + 0.114 b in 16 bits of fraction.
uint8_t luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16);
}

}  // namespace

void Image::reset(Size to, int with_channels) {
  size = to;
  channels = with_channels;
  width = to.width;
  height = to.height;
  pixels.resize(to.pixels() * with_channels);
}

void to_channels(Image& image, int to) {
  const int from = std::exchange(image.channels, to);
  if (from == to) return;
  const int64_t count = image.size.pixels();
  if (from == 1) {
    image.pixels.resize(count * to);
    for (int64_t i = count - 1; i >= 0; --i)
      for (int c = 0; c < to; ++c) image.pixels[i * to + c] = image.pixels[i];
    return;
  }
  uint8_t* out = image.pixels.data();
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* rgb = image.pixels.data() + i * from;
    if (to == 1)
      out[i] = luma(rgb);
    else
      for (int c = 0; c < to; ++c) out[i * to + c] = rgb[c];
  }
  image.pixels.resize(count * to);
}

}  // namespace stoker::images
