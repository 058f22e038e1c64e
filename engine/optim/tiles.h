#pragma once
// Sums of squares by row and by column of each matrix (optim/matrices.h). They are made tile by tile: some rows by some
// columns of one matrix, or several whole small ones. So several can share the work, and the order of summation depends
// on nothing but the arena.
#include <cstdint>
#include <vector>

#include "optim/matrices.h"

namespace stoker::optim {

/// Numbers whose parts, of one tile each, lie `stride` apart.
struct Parts {
  const double* at;
  int64_t count, stride;
  double operator[](int64_t i) const {
    double sum = 0;
    for (int64_t part = 0; part < count; ++part) sum += at[part * stride + i];
    return sum;
  }
};

/// Thread-safe. Describes the sums of all parameters, which lie in one array of size() doubles.
class TileSums {
 public:
  /// Keeps a reference.
  explicit TileSums(const std::vector<Matrices>& parameters);

  int64_t tiles() const { return tiles_; }
  int64_t size() const { return size_; }
  /// Of the tiles from begin to end, of numbers that lie as in the arena.
  void add_up(Extent tiles, const float* values, double* sums) const;
  /// What add_up() has made of all tiles, by row and by column of a parameter, matrix by matrix.
  Parts rows(size_t parameter, const double* sums) const;
  Parts columns(size_t parameter, const double* sums) const;

 private:
  struct Cut {
    int64_t matrices = 1, rows = 1, columns = 1;  // of a tile, at most
    int64_t by_row = 0, by_column = 0;            // tiles of a matrix
    int64_t first = 0;                            // tile
    int64_t row_sums = 0, column_sums = 0;        // where they are
  };
  static Cut cut(const Matrices& m);
  void add_up(size_t parameter, int64_t tile, const float* values, double* sums) const;

  const std::vector<Matrices>& parameters_;
  std::vector<Cut> cuts_;  // by parameter
  int64_t tiles_ = 0, size_ = 0;
};

}  // namespace stoker::optim
