#pragma once
// Resizing with the triangle filter, which is widened where the picture shrinks (bilinear with antialiasing), as Pillow
// does: lines, then columns, with 8 bits between. In whole numbers, so the same bits on every machine; Pillow's results
// differ by one here and there, for it keeps more digits of the weights.
#include <cstdint>
#include <vector>

#include "images/image.h"

namespace stoker::images {

/// A part of a picture, in its pixels; edges may lie inside of them.
struct Box {
  double left = 0, top = 0, right = 0, bottom = 0;
};

/// The largest part in the middle that has the shape of `to`.
Box cover(const Box& box, Size to);

/// Not thread-safe: it keeps memory, and the weights of the last shapes, from call to call.
class Resizer {
 public:
  /// The box, at size `to`, as planes: channel after channel, `to.pixels()` bytes each.
  void resize(const View& from, const Box& box, Size to, uint8_t* planes);

 private:
  /// Each result is a weighted sum of some neighbours.
  struct Filter {
    int in = 0, out = 0;
    double begin = 0, end = 0;
    int taps = 0;                  // neighbours of each result
    std::vector<int> first;        // of them
    std::vector<int16_t> weights;  // in 14 bits of fraction
    void prepare(int in_size, double in_begin, double in_end, int out_size);
    bool copies() const { return in == out && begin == 0 && end == in; }
  };
  const uint8_t* shrink_rows(const uint8_t* pixels, int rows, int channels);
  void shrink_columns(const uint8_t* rows, int channels, uint8_t* planes);

  Filter across_, down_;
  std::vector<uint8_t> rows_, line_;
};

}  // namespace stoker::images
