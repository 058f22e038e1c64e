#pragma once
// The pictures of one field of one record batch, decoded and brought to one size. Not thread-safe; slot, batch and
// faults must outlive the reader.
#include <cstdint>
#include <optional>
#include <span>

#include "data/arrow/abi.h"
#include "data/spec/columns.h"
#include "data/spec/faults.h"
#include "images/image.h"
#include "images/resize.h"

namespace stoker::data {

/// Reads binary columns of JPEG, PNG or WebP files, and Spark's image struct (origin, height, width, nChannels, mode,
/// data), whose data are blue, green, red.
class ImageReader {
 public:
  /// Row 0 is `first` of `array`, before the array's own offset. Throws Error(user) for other types.
  /// REQUIRES: an array without a layout_fault().
  ImageReader(const FieldSpec& field, const ArrowSchema& schema, const ArrowArray& array, int64_t first,
              Faults& faults);
  /// Stores the planes of row `begin + i`, i < count, at `out + i * stride`. What a faulty row leaves has no meaning.
  void read(int64_t begin, int64_t count, std::byte* out, size_t stride);

 private:
  void read_row(int64_t row, uint8_t* planes);
  bool is_missing(int64_t row) const;
  void open(int64_t row);
  void open_struct(int64_t at);
  int32_t number(int child, int64_t at) const;

  const FieldSpec& field_;
  const ImageSpec& spec_;
  const ArrowArray& array_;
  int64_t first_;
  Faults& faults_;
  bool is_struct_ = false;
  int height_ = 0, width_ = 0, channels_ = 0, mode_ = 0, data_ = 0;  // children of the struct
  const ArrowArray* bytes_ = nullptr;                                // the binary array
  bool large_ = false;                                               // with 64-bit offsets
  images::Image picture_;
  images::Resizer resizer_;
};

}  // namespace stoker::data
