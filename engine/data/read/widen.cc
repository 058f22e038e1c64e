#include "data/read/widen.h"

#include <cstring>

#include "data/read/image_batch.h"

namespace stoker::data {
namespace {

template <typename S, typename T>
void widen_row(const std::byte* from, int64_t values, T unit, std::byte* to) {
  for (int64_t v = 0; v < values; ++v) {
    S stored;
    std::memcpy(&stored, from + v * sizeof(S), sizeof(S));
    const T widened = static_cast<T>(static_cast<T>(stored) * unit);
    std::memcpy(to + v * sizeof(T), &widened, sizeof(T));
  }
}

}  // namespace

void widen(const FieldSpec& field, const std::byte* from, size_t from_stride, const uint32_t* rows, int64_t count,
           DType tensor, std::byte* to, size_t to_stride, const Draws* draws) {
  if (field.kind == FieldSpec::Kind::image)
    return widen_images(field, from, from_stride, rows, count, tensor, to, to_stride, draws);
  const int64_t values = field.values();
  with_dtype(field.stored, [&]<typename S>(S) {
    with_dtype(tensor, [&]<typename T>(T) {
      const T unit = static_cast<T>(field.unit);
      for (int64_t i = 0; i < count; ++i) {
        widen_row<S, T>(from + (rows ? rows[i] : i) * from_stride, values, unit, to + i * to_stride);
      }
    });
  });
}

}  // namespace stoker::data
