#pragma once
// Convolutions of few channels, stride 1, over whole planes: a place of the kernel is a plane that is shifted, so
// vectors go along the pixels of a plane, where libraries let them go along channels and leave most of each unused.
// Planes are framed by their padding; rows of the result are as long as those of the framed planes, and what is beyond
// is dropped.
//
// The bits of an image's results depend on the image only; a weight's gradient is summed image by image, in their
// order. Used by one thread.
#include <cstdint>
#include <vector>

#include "base/float_rows.h"
#include "program/dense.h"

namespace stoker::program {

/// Of an image, without the number of images.
struct ConvShape {
  int64_t in = 0, out = 0;  // channels
  int64_t height = 0, width = 0;
  int64_t kernel_height = 0, kernel_width = 0;
  int64_t pad_height = 0, pad_width = 0;

  int64_t framed_height() const { return height + 2 * pad_height; }
  int64_t framed_width() const { return width + 2 * pad_width; }
  int64_t out_height() const { return framed_height() - kernel_height + 1; }
  int64_t out_width() const { return framed_width() - kernel_width + 1; }
  int64_t taps() const { return kernel_height * kernel_width; }
  bool operator==(const ConvShape&) const = default;
};

/// How images lie, in floats.
struct Strides {
  int64_t image = 0, channel = 0, row = 0, column = 0;
};
struct Images {
  const float* data = nullptr;
  Strides at;
};
/// To be written.
struct ImagesOut {
  float* data = nullptr;
  Strides at;
};

class PlaneConv {
 public:
  PlaneConv(const ConvShape& shape, const DenseKernels& kernels);

  /// y(n, out, out_height, out_width) = x with weights (out, in, kernel_height, kernel_width), plus the bias where
  /// there is one.
  void forward(const Images& x, int64_t n, const float* w, const float* bias, const ImagesOut& y);
  /// By d, the loss' gradient of y: that of w, unless dw is null; and that of x, unless dx has no data.
  void backward(const Images& x, const Images& d, int64_t n, const float* w, float* dw, const ImagesOut& dx);

  const ConvShape& shape() const { return shape_; }

 private:
  int64_t framed() const { return shape_.framed_height() * shape_.framed_width(); }
  void frame(const Images& x, int64_t image);
  void spread(const Images& d, int64_t image);
  void gather(const float* bias, const ImagesOut& y, int64_t image);
  void turn(const float* w);
  void input_gradient(const ImagesOut& dx, int64_t image);

  const ConvShape shape_;
  const DenseKernels& kernels_;
  const int64_t lead_;            // zeros before a plane of gradients: as far as a kernel reaches back
  const int64_t spread_plane_;    // floats of one with its lead and what vectors read beyond
  std::vector<int64_t> forward_;  // shifts of (channel in, place) from framed planes
  std::vector<int64_t> back_;     // of (channel out, place) from planes of gradients
  std::vector<float> x_;          // framed planes of an image
  std::vector<float> d_;          // its gradients, each row as long as a framed one
  std::vector<float> turned_;     // weights as (in, out, places)
  FloatRows flat_, sums_;
};

}  // namespace stoker::program
