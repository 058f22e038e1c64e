#pragma once
// From the bytes of a file to pixels. Pure functions; the same bits on every machine.
#include <cstdint>
#include <span>

#include "images/image.h"

namespace stoker::images {

struct Wanted {
  int channels = 3;  // 1 or 3; transparency is dropped, and what is behind it shows
  Size at_least;     // a JPEG may come at a half, a quarter or an eighth of its size, if that is not smaller than this
  int64_t max_pixels = 0;  // of the whole picture; checked before memory is taken for it
};

/// A JPEG, PNG or WebP file, told by its first bytes. Turns that EXIF asks for are not made. Throws BadImage.
void decode(std::span<const std::byte> file, const Wanted& wanted, Image& out);

}  // namespace stoker::images
