#include "images/resize.h"

#include <algorithm>
#include <cmath>

namespace stoker::images {
namespace {

constexpr int kBits = 14;  // of a weight's fraction: products of 16 bits are the fastest everywhere
constexpr uint32_t kHalf = 1 << (kBits - 1);

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

/// The weighted sum of neighbours: `kTaps` of them, or `taps` where that is 0. Weights are not negative and add up to
/// one, so sums stay below 2^22, and two channels can share a number of 64 bits.
template <int kTaps>
void put_colour(const uint8_t* pixel, const int16_t* weights, int taps, uint8_t* out) {
  uint64_t red_green = kHalf | uint64_t{kHalf} << 32;
  uint32_t blue = kHalf;
  for (int t = 0; t < (kTaps > 0 ? kTaps : taps); ++t, pixel += 3) {
    red_green += (pixel[0] | uint64_t{pixel[1]} << 32) * weights[t];
    blue += pixel[2] * weights[t];
  }
  out[0] = static_cast<uint8_t>(red_green >> kBits);
  out[1] = static_cast<uint8_t>(red_green >> (32 + kBits));
  out[2] = static_cast<uint8_t>(blue >> kBits);
}

void put_grey(const uint8_t* pixel, const int16_t* weights, int taps, uint8_t* out) {
  uint32_t sum = kHalf;
  for (int t = 0; t < taps; ++t) sum += pixel[t] * weights[t];
  *out = static_cast<uint8_t>(sum >> kBits);
}

using Put = void (*)(const uint8_t*, const int16_t*, int, uint8_t*);

template <int kChannels, Put kPut>
void put_line(const uint8_t* in, const std::vector<int>& first, const int16_t* weights, int taps, uint8_t* out) {
  for (const int pixel : first) {
    kPut(in + pixel * kChannels, weights, taps, out);
    weights += taps;
    out += kChannels;
  }
}

/// Few neighbours are the rule: a loop of known length is unrolled.
auto line_of(int channels, int taps) {
  if (channels == 1) return put_line<1, put_grey>;
  switch (taps) {
    case 2:
      return put_line<3, put_colour<2>>;
    case 3:
      return put_line<3, put_colour<3>>;
    case 4:
      return put_line<3, put_colour<4>>;
    case 5:
      return put_line<3, put_colour<5>>;
    default:
      return put_line<3, put_colour<0>>;
  }
}

/// The same for a line of values, of as many lines below each other.
template <int kTaps>
void put_below(const uint8_t* in, int values, const int16_t* weights, int taps, uint8_t* out) {
  int16_t kept[kTaps > 0 ? kTaps : 1];
  std::copy_n(weights, kTaps, kept);
  for (int i = 0; i < values; ++i) {
    int32_t sum = kHalf;
    for (int t = 0; t < (kTaps > 0 ? kTaps : taps); ++t)
      sum += int32_t{in[static_cast<size_t>(t) * values + i]} * (kTaps > 0 ? kept[t] : weights[t]);
    out[i] = static_cast<uint8_t>(sum >> kBits);
  }
}

auto below_of(int taps) {
  switch (taps) {
    case 2:
      return put_below<2>;
    case 3:
      return put_below<3>;
    case 4:
      return put_below<4>;
    case 5:
      return put_below<5>;
    default:
      return put_below<0>;
  }
}

/// From interleaved to planes.
void deal(const uint8_t* line, int width, int channels, uint8_t* out, size_t plane) {
  if (channels == 1) {
    std::copy_n(line, width, out);
    return;
  }
  for (int x = 0; x < width; ++x, line += 3, ++out) {
    out[0] = line[0];
    out[plane] = line[1];
    out[2 * plane] = line[2];
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
  const double scale = (end - begin) / out, reach = std::max(scale, 1.0);
  const auto from = [&](double centre) { return std::max(0, static_cast<int>(centre - reach + 0.5)); };
  const auto to = [&](double centre) { return std::min(in, static_cast<int>(centre + reach + 0.5)); };
  const auto centre_of = [&](int i) { return begin + (i + 0.5) * scale; };
  taps = 1;
  for (int i = 0; i < out; ++i) taps = std::max(taps, to(centre_of(i)) - from(centre_of(i)));
  first.assign(out, 0);
  weights.assign(static_cast<size_t>(out) * taps, 0);
  std::vector<double> exact(taps);
  for (int i = 0; i < out; ++i) {
    const double centre = centre_of(i);
    const int low = from(centre), many = to(centre) - low;
    double total = 0;
    for (int t = 0; t < many; ++t) total += exact[t] = triangle((low + t - centre + 0.5) * (1.0 / reach));
    first[i] = std::min(low, in - taps);  // the same number of neighbours for all, some of weight 0
    int16_t* row = weights.data() + static_cast<size_t>(i) * taps + (low - first[i]);
    int left = 1 << kBits;
    for (int t = 0; t < many; ++t) left -= row[t] = static_cast<int16_t>(0.5 + exact[t] / total * (1 << kBits));
    *std::max_element(row, row + many) += static_cast<int16_t>(left);  // so that an even colour stays what it is
  }
}

void Resizer::resize(const View& from, const Box& box, Size to, uint8_t* planes) {
  across_.prepare(from.size.width, box.left, box.right, to.width);
  down_.prepare(from.size.height, box.top, box.bottom, to.height);
  const int first_row = down_.first.front(), rows = down_.first.back() + down_.taps - first_row;
  const size_t skipped = static_cast<size_t>(first_row) * from.size.width * from.channels;
  const uint8_t* pixels = from.pixels + skipped;
  if (!across_.copies()) pixels = shrink_rows(pixels, rows, from.channels);
  shrink_columns(pixels, from.channels, planes);
}

const uint8_t* Resizer::shrink_rows(const uint8_t* pixels, int rows, int channels) {
  const auto put = line_of(channels, across_.taps);
  const size_t in = static_cast<size_t>(across_.in) * channels, out = static_cast<size_t>(across_.out) * channels;
  rows_.resize(rows * out);
  for (int y = 0; y < rows; ++y)
    put(pixels + y * in, across_.first, across_.weights.data(), across_.taps, rows_.data() + y * out);
  return rows_.data();
}

void Resizer::shrink_columns(const uint8_t* rows, int channels, uint8_t* planes) {
  const int width = across_.out, values = width * channels;
  const auto put = below_of(down_.taps);
  line_.resize(values);
  for (int y = 0; y < down_.out; ++y) {
    const uint8_t* in = rows + static_cast<size_t>(down_.first[y] - down_.first[0]) * values;
    const int16_t* weights = down_.weights.data() + static_cast<size_t>(y) * down_.taps;
    put(in, values, weights, down_.taps, line_.data());
    deal(line_.data(), width, channels, planes + static_cast<size_t>(y) * width,
         static_cast<size_t>(width) * down_.out);
  }
}

}  // namespace stoker::images
