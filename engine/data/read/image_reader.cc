#include "data/read/image_reader.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "data/arrow/bits.h"
#include "data/arrow/layout.h"
#include "data/arrow/type.h"
#include "data/read/row_reader.h"
#include "images/decode.h"

namespace stoker::data {
namespace {

constexpr char kExpected[] = "binary (JPEG, PNG or WebP files) or Spark's image struct";

bool is_binary(const ArrowSchema& schema) {
  const std::string_view format = schema.format;
  return format == "z" || format == "Z";
}

/// A cell that is there in an array and in all that is above it.
bool is_valid(const ArrowArray& array, int64_t at) {
  return !has_nulls(array) || is_set(array.buffers[0], at + array.offset);
}

template <typename O>
std::span<const std::byte> bytes_at(const ArrowArray& array, int64_t at) {
  const Range range = range_at<O>(array.buffers[1], array.offset + at);
  const int64_t held = bytes_held<O>(array);
  if (!range.within(held))
    throw images::BadImage(kSpoilt, cat(kSpoilt, ": its bytes lie at ", range.text(), " of ", held));
  return {static_cast<const std::byte*>(array.buffers[2]) + range.begin, static_cast<size_t>(range.size())};
}

std::span<const std::byte> bytes_at(const ArrowArray& array, int64_t at, bool large) {
  return large ? bytes_at<int64_t>(array, at) : bytes_at<int32_t>(array, at);
}

}  // namespace

ImageReader::ImageReader(const FieldSpec& field, const ArrowSchema& schema, const ArrowArray& array, int64_t first,
                         Faults& faults)
    : field_(field), spec_(*field.image), array_(array), first_(first), faults_(faults), bytes_(&array) {
  const ArrowSchema* bytes = &schema;
  is_struct_ = std::string_view(schema.format) == "+s";
  bool fits = true;
  if (is_struct_) {
    int* const places[] = {&height_, &width_, &channels_, &mode_, &data_};
    constexpr const char* names[] = {"height", "width", "nChannels", "mode", "data"};
    for (int i = 0; i < 5; ++i) fits &= (*places[i] = find_child(schema, names[i])) >= 0;
    for (int i = 0; fits && i < 4; ++i) fits &= std::string_view(schema.children[*places[i]]->format) == "i";
    if (fits) bytes = schema.children[data_], bytes_ = array.children[data_];
  }
  if (!fits || !is_binary(*bytes)) fail_type(faults.place(), field.shown[0], spark_type(schema), kExpected);
  large_ = std::string_view(bytes->format) == "Z";
}

void ImageReader::read(int64_t begin, int64_t count, std::byte* out, size_t stride) {
  for (int64_t i = 0; i < count; ++i) read_row(begin + i, reinterpret_cast<uint8_t*>(out + i * stride));
}

void ImageReader::read_row(int64_t row, uint8_t* planes) try {
  if (is_missing(row)) {
    if (field_.fill_missing)
      std::fill_n(planes, field_.row_bytes(), static_cast<uint8_t>(field_.fill[0]));
    else
      faults_.add(row, field_.shown[0], "is null", "is null", "nulls='fill' allows that");
    return;
  }
  open(row);
  images::Box box{0, 0, picture_.width, picture_.height};
  if (spec_.cover) box = images::cover(box, spec_.size);
  resizer_.resize(picture_.view(), box, spec_.size, planes);
} catch (const images::BadImage& bad) {
  faults_.add(row, field_.shown[0], bad.reason, bad.what());
}

bool ImageReader::is_missing(int64_t row) const {
  const int64_t at = first_ + row;
  if (!is_valid(array_, at)) return true;
  return is_struct_ && !is_valid(*bytes_, at + array_.offset);
}

void ImageReader::open(int64_t row) {
  const int64_t at = first_ + row;
  if (is_struct_) return open_struct(at + array_.offset);
  images::decode(bytes_at(*bytes_, at, large_), {spec_.channels, spec_.size, spec_.max_pixels}, picture_);
}

int32_t ImageReader::number(int child, int64_t at) const {
  const ArrowArray& array = *array_.children[child];
  if (!is_valid(array, at)) return -1;
  return static_cast<const int32_t*>(array.buffers[1])[at + array.offset];
}

/// OpenCV's numbers for 8 bits and 1, 3 or 4 channels.
void ImageReader::open_struct(int64_t at) {
  const int height = number(height_, at), width = number(width_, at), channels = number(channels_, at);
  const int mode = number(mode_, at);
  const auto data = bytes_at(*bytes_, at, large_);
  const bool known = mode == 0 || mode == 16 || mode == 24;
  if (!known || channels != mode / 8 + 1)
    throw images::BadImage(images::kUnknown, cat("is an image struct of mode ", mode, " with ", channels,
                                                 " channels, expected mode 0 (CV_8UC1), 16 (CV_8UC3) or 24 (CV_8UC4)"));
  const int64_t pixels = int64_t{height} * width, size = static_cast<int64_t>(data.size());
  if (height < 1 || width < 1 || size % channels != 0 || size / channels != pixels)
    throw images::BadImage(images::kBroken, cat("is a broken image struct: ", height, " x ", width, " pixels of ",
                                                channels, " channels in ", data.size(), " bytes"));
  if (pixels > spec_.max_pixels)
    throw images::BadImage(images::kTooLarge, cat("has ", width, " x ", height, " pixels, more than the ",
                                                  spec_.max_pixels, " that maxPixels allows"));
  picture_.reset({height, width}, channels);
  std::copy_n(reinterpret_cast<const uint8_t*>(data.data()), data.size(), picture_.pixels.data());
  if (channels > 1)
    for (size_t i = 0; i < data.size(); i += channels) std::swap(picture_.pixels[i], picture_.pixels[i + 2]);
  images::to_channels(picture_, spec_.channels);
}

}  // namespace stoker::data
