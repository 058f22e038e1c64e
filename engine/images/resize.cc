#include "images/resize.h"

#include <algorithm>
#include <cmath>

namespace stoker::images {
namespace {

constexpr int kBits = 22;
constexpr int32_t kHalf = 1 << (kBits - 1);

uint8_t rounded(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255)); }

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

/// One line of results across, of pixels of C channels.
template <int C>
void across_line(const uint8_t* in, int count, const int* first, const int* many, const int32_t* weights, int taps,
                 uint8_t* out) {
  for (int x = 0; x < count; ++x, weights += taps, out += C) {
    int32_t sums[C];
    std::fill_n(sums, C, kHalf);
    const uint8_t* pixel = in + first[x] * C;
    for (int t = 0; t < many[x]; ++t, pixel += C)
      for (int c = 0; c < C; ++c) sums[c] += pixel[c] * weights[t];
    for (int c = 0; c < C; ++c) out[c] = rounded(sums[c]);
  }
}

}  // namespace

Box cover(const Box& box, Size to) {
  const double width = box.right - box.left, height = box.bottom - box.top;
  const double scale = std::min(width / to.width, height / to.height);
  const double left = box.left + (width - to.width * scale) / 2, top = box.top + (height - to.height * scale) / 2;
  return {left, top, left + to.width * scale, top + to.height * scale};
}

void Resizer::Filter::prepare(int in_size, double in_begin, double in_end, int out_size) {
  if (in == in_size && out == out_size && begin == in_begin && end == in_end) return;
  in = in_size, out = out_size, begin = in_begin, end = in_end;
  const double scale = (end - begin) / out, widened = std::max(scale, 1.0);
  taps = static_cast<int>(std::ceil(widened)) * 2 + 1;
  first.assign(out, 0);
  many.assign(out, 0);
  weights.assign(static_cast<size_t>(out) * taps, 0);
  std::vector<double> exact(taps);
  for (int i = 0; i < out; ++i) {
    const double centre = begin + (i + 0.5) * scale;
    first[i] = std::max(0, static_cast<int>(centre - widened + 0.5));
    many[i] = std::min(in, static_cast<int>(centre + widened + 0.5)) - first[i];
    double total = 0;
    for (int t = 0; t < many[i]; ++t) total += exact[t] = triangle((first[i] + t - centre + 0.5) * (1.0 / widened));
    for (int t = 0; t < many[i]; ++t)
      weights[static_cast<size_t>(i) * taps + t] = static_cast<int32_t>(0.5 + exact[t] / total * (1 << kBits));
  }
}

void Resizer::resize(const View& from, const Box& box, Size to, uint8_t* planes) {
  across_.prepare(from.size.width, box.left, box.right, to.width);
  down_.prepare(from.size.height, box.top, box.bottom, to.height);
  const int first_row = down_.first.front(), rows = down_.first.back() + down_.many.back() - first_row;
  if (!across_.copies()) shrink_rows(from, first_row, rows);
  const size_t skipped = static_cast<size_t>(first_row) * from.size.width * from.channels;
  shrink_columns(across_.copies() ? from.pixels + skipped : rows_.data(), first_row, from.channels, planes);
}

void Resizer::shrink_rows(const View& from, int first_row, int rows) {
  const auto line = from.channels == 1 ? across_line<1> : across_line<3>;
  const size_t in = static_cast<size_t>(from.size.width) * from.channels, out = across_.out * from.channels;
  rows_.resize(rows * out);
  for (int y = 0; y < rows; ++y) {
    line(from.pixels + (first_row + y) * in, across_.out, across_.first.data(), across_.many.data(),
         across_.weights.data(), across_.taps, rows_.data() + y * out);
  }
}

void Resizer::shrink_columns(const uint8_t* rows, int first_row, int channels, uint8_t* planes) {
  const int width = across_.out, values = width * channels;
  const size_t plane = static_cast<size_t>(width) * down_.out;
  line_.resize(values);
  for (int y = 0; y < down_.out; ++y) {
    const uint8_t* in = rows + static_cast<size_t>(down_.first[y] - first_row) * values;
    sums_.assign(values, kHalf);
    for (int t = 0; t < down_.many[y]; ++t, in += values) {
      const int32_t weight = down_.weights[static_cast<size_t>(y) * down_.taps + t];
      for (int i = 0; i < values; ++i) sums_[i] += in[i] * weight;
    }
    for (int i = 0; i < values; ++i) line_[i] = rounded(sums_[i]);
    for (int c = 0; c < channels; ++c)
      for (int x = 0; x < width; ++x) planes[c * plane + static_cast<size_t>(y) * width + x] = line_[x * channels + c];
  }
}

}  // namespace stoker::images
