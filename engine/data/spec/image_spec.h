#pragma once
// How pictures become tensors [channels, height, width], and what is drawn anew for each row in each epoch.
#include <cstdint>
#include <vector>

#include "images/image.h"

namespace stoker::data {

struct ImageSpec {
  int channels = 3;
  images::Size size;   // that every picture is brought to and stored at, in planes
  images::Size crop;   // of the tensor: a part of it
  bool flip = false;   // left and right may be exchanged
  bool cover = false;  // the middle is taken in the shape of `size`, rather than distorted to it
  int64_t max_pixels = 0;
  std::vector<double> mean, deviation;  // of pixel / 255, one a channel
};

/// What is drawn for the rows of one gather: row i has draw `first + i` of the key.
struct Draws {
  uint64_t key = 0;
  uint64_t first = 0;
};

}  // namespace stoker::data
