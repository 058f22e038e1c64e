#include "program/plane_conv.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include <algorithm>

namespace stoker::program {
namespace {

/// Channels of an image one after the other: `channel` and `row` tell how far they are apart.
struct PlanesAt {
  float* data = nullptr;
  int64_t channel = 0, row = 0;
};

constexpr int64_t kTurned = 4;

/// to[i * to_row + k] = from[k * from_row + i] + more[k], for 4 x 4 of them.
void turn_four(const float* from, int64_t from_row, const float* more, float* to, int64_t to_row) {
#ifdef __x86_64__
  __m128 rows[kTurned];
  for (int k = 0; k < kTurned; ++k) rows[k] = _mm_loadu_ps(from + k * from_row);
  if (more)
    for (int k = 0; k < kTurned; ++k) rows[k] = _mm_add_ps(rows[k], _mm_set1_ps(more[k]));
  _MM_TRANSPOSE4_PS(rows[0], rows[1], rows[2], rows[3]);
  for (int i = 0; i < kTurned; ++i) _mm_storeu_ps(to + i * to_row, rows[i]);
#else
  for (int k = 0; k < kTurned; ++k)
    for (int i = 0; i < kTurned; ++i) to[i * to_row + k] = from[k * from_row + i] + (more ? more[k] : 0.0F);
#endif
}

void copy(const float* from, int64_t from_step, float more, int64_t count, float* to, int64_t to_step) {
  if (from_step == 1 && to_step == 1) {
    for (int64_t i = 0; i < count; ++i) to[i] = from[i] + more;
  } else {
    for (int64_t i = 0; i < count; ++i) to[i * to_step] = from[i * from_step] + more;
  }
}

/// A row of an image's channels, whose pixels lie anyhow.
void take_row(const float* from, const Strides& at, int64_t channels, int64_t width, const PlanesAt& to) {
  int64_t c = 0;
  for (; at.channel == 1 && c + kTurned <= channels; c += kTurned) {
    int64_t i = 0;
    for (; i + kTurned <= width; i += kTurned)
      turn_four(from + i * at.column + c, at.column, nullptr, to.data + c * to.channel + i, to.channel);
    for (; i < width; ++i)
      for (int64_t k = c; k < c + kTurned; ++k) to.data[k * to.channel + i] = from[i * at.column + k];
  }
  for (; c < channels; ++c) copy(from + c * at.channel, at.column, -0.0F, width, to.data + c * to.channel, 1);
}

/// The way back, with the bias added where there is one.
void put_row(const PlanesAt& from, const float* bias, int64_t channels, int64_t width, float* to, const Strides& at) {
  int64_t c = 0;
  for (; at.channel == 1 && c + kTurned <= channels; c += kTurned) {
    const float* more = bias ? bias + c : nullptr;
    int64_t i = 0;
    for (; i + kTurned <= width; i += kTurned)
      turn_four(from.data + c * from.channel + i, from.channel, more, to + i * at.column + c, at.column);
    for (; i < width; ++i)
      for (int64_t k = 0; k < kTurned; ++k)
        to[i * at.column + c + k] = from.data[(c + k) * from.channel + i] + (more ? more[k] : 0.0F);
  }
  for (; c < channels; ++c)
    copy(from.data + c * from.channel, 1, bias ? bias[c] : -0.0F, width, to + c * at.channel, at.column);
}

void take(const Images& x, int64_t image, int64_t channels, int64_t height, int64_t width, const PlanesAt& to) {
  for (int64_t h = 0; h < height; ++h)
    take_row(x.data + image * x.at.image + h * x.at.row, x.at, channels, width,
             {to.data + h * to.row, to.channel, to.row});
}

void put(const PlanesAt& from, const float* bias, int64_t channels, int64_t height, int64_t width, const ImagesOut& y,
         int64_t image) {
  for (int64_t h = 0; h < height; ++h)
    put_row({from.data + h * from.row, from.channel, from.row}, bias, channels, width,
            y.data + image * y.at.image + h * y.at.row, y.at);
}

}  // namespace

PlaneConv::PlaneConv(const ConvShape& shape, const DenseKernels& kernels)
    : shape_(shape),
      kernels_(kernels),
      lead_((shape.kernel_height - 1) * shape.framed_width() + shape.kernel_width - 1),
      spread_plane_(lead_ + framed() + kMostLanes),
      x_(shape.in * framed() + shape.kernel_width + kMostLanes),
      d_(shape.out * spread_plane_),
      turned_(shape.in * shape.out * shape.taps()) {
  const auto place = [&](int64_t tap) {
    return tap / shape.kernel_width * shape.framed_width() + tap % shape.kernel_width;
  };
  for (int64_t c = 0; c < shape.in; ++c)
    for (int64_t tap = 0; tap < shape.taps(); ++tap) forward_.push_back(c * framed() + place(tap));
  const int64_t first_row = shape.pad_height * shape.framed_width();
  for (int64_t c = 0; c < shape.out; ++c)
    for (int64_t tap = 0; tap < shape.taps(); ++tap)
      back_.push_back(c * spread_plane_ + lead_ + first_row - place(tap));
}

void PlaneConv::forward(const Images& x, int64_t n, const float* w, const float* bias, const ImagesOut& y) {
  const int64_t depth = shape_.in * shape_.taps(), flat = shape_.out_height() * shape_.framed_width();
  const int64_t columns = flat - shape_.framed_width() + shape_.out_width();
  flat_.make_room(shape_.out * flat);
  for (int64_t i = 0; i < n; ++i) {
    frame(x, i);
    kernels_.shifted({w, x_.data(), forward_.data(), flat_.data(), shape_.out, columns, depth, flat});
    gather(bias, y, i);
  }
}

void PlaneConv::backward(const Images& x, const Images& d, int64_t n, const float* w, float* dw, const ImagesOut& dx) {
  const int64_t depth = shape_.in * shape_.taps(), columns = shape_.out_height() * shape_.framed_width();
  const int64_t sums = dw ? shape_.out * depth * kernels_.lanes : 0;
  sums_.make_room(sums);
  std::fill_n(sums_.data(), sums, 0.0F);
  if (dx.data) turn(w);
  for (int64_t i = 0; i < n; ++i) {
    frame(x, i);
    spread(d, i);
    if (dw)
      kernels_.shifted_sums(
          {d_.data() + lead_, x_.data(), forward_.data(), sums_.data(), shape_.out, columns, depth, spread_plane_});
    if (dx.data) input_gradient(dx, i);
  }
  if (dw) kernels_.sum_lanes(sums_.data(), shape_.out * depth, dw);
}

void PlaneConv::frame(const Images& x, int64_t image) {
  float* first = x_.data() + shape_.pad_height * shape_.framed_width() + shape_.pad_width;
  take(x, image, shape_.in, shape_.height, shape_.width, {first, framed(), shape_.framed_width()});
}

void PlaneConv::spread(const Images& d, int64_t image) {
  take(d, image, shape_.out, shape_.out_height(), shape_.out_width(),
       {d_.data() + lead_, spread_plane_, shape_.framed_width()});
}

void PlaneConv::gather(const float* bias, const ImagesOut& y, int64_t image) {
  const PlanesAt flat{flat_.data(), shape_.out_height() * shape_.framed_width(), shape_.framed_width()};
  put(flat, bias, shape_.out, shape_.out_height(), shape_.out_width(), y, image);
}

void PlaneConv::turn(const float* w) {
  for (int64_t out = 0; out < shape_.out; ++out)
    for (int64_t in = 0; in < shape_.in; ++in, w += shape_.taps())
      std::copy_n(w, shape_.taps(), turned_.data() + (in * shape_.out + out) * shape_.taps());
}

void PlaneConv::input_gradient(const ImagesOut& dx, int64_t image) {
  const int64_t flat = shape_.height * shape_.framed_width(), depth = shape_.out * shape_.taps();
  flat_.make_room(shape_.in * flat);
  kernels_.shifted({turned_.data(), d_.data(), back_.data(), flat_.data(), shape_.in, flat, depth, flat});
  put({flat_.data() + shape_.pad_width, flat, shape_.framed_width()}, nullptr, shape_.in, shape_.height, shape_.width,
      dx, image);
}

}  // namespace stoker::program
