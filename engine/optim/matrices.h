#pragma once
// Parameters as stacks of matrices, of the last two dimensions that the user's tensors have, wherever those lie in
// memory; and strips of their rows, in which sums by row and by column are made. A pure description of an arena.
#include <cstdint>
#include <vector>

#include "optim/arena.h"

namespace stoker::optim {

/// A number for each row and each column of each matrix: where those of an element, or a step along a dimension, are.
struct RowColumn {
  int64_t row = 0, column = 0;
};

/// Of one parameter. One of fewer than two dimensions has a row for each element, and one column.
struct Matrices {
  Extent extent;
  int group = 0;
  bool factored = false;
  int64_t count = 1, rows = 1, columns = 1;
  int64_t row_stride = 1, column_stride = 1;  // floats
  std::vector<int64_t> begins;                // by matrix, in the arena
  RowColumn first;               // places of the first element; numbers of all parameters follow each other
  std::vector<int64_t> sizes;    // of dimensions as they lie in memory
  std::vector<RowColumn> steps;  // likewise

  int64_t row_count() const { return count * rows; }
  int64_t column_count() const { return count * columns; }
};

std::vector<Matrices> matrices_of(const Arena& arena);

/// Calls body(part, places of its first element, places from one element to the next) for runs of neighbours in
/// memory. REQUIRES: the part is of the parameter.
template <typename Body>
void for_each_run(const Matrices& of, Extent part, Body body) {
  for (int64_t at = part.begin; at < part.end;) {
    const int64_t end = std::min(part.end, at + of.sizes.back() - (at - of.extent.begin) % of.sizes.back());
    RowColumn places = of.first;
    int64_t index = at - of.extent.begin;
    for (size_t d = of.sizes.size(); d-- > 0; index /= of.sizes[d]) {
      places.row += index % of.sizes[d] * of.steps[d].row;
      places.column += index % of.sizes[d] * of.steps[d].column;
    }
    body(Extent{at, end}, places, of.steps.back());
    at = end;
  }
}

/// Some rows of one matrix.
struct Strip {
  int parameter = 0;
  int64_t matrix = 0;
  int64_t begin = 0, end = 0;  // rows
  int64_t first = 0;           // its first element, in the arena
  int64_t columns = 0;         // where numbers of its columns are, among those of all strips
};

/// Of all parameters, which, matrices and rows ascending.
std::vector<Strip> strips_of(const std::vector<Matrices>& parameters);

}  // namespace stoker::optim
