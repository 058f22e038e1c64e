#pragma once
// Parameters as stacks of matrices, of the last two dimensions that the user's tensors have, wherever those lie in
// memory. A pure description of an arena.
#include <cstdint>
#include <vector>

#include "optim/arena.h"

namespace stoker::optim {

/// A number for each row and each column of each matrix: where those of an element, or a step along a dimension, are.
struct RowColumn {
  int64_t row = 0, column = 0;
};

/// Matrices one behind the other: of so many the first elements are so many floats apart.
struct Stack {
  int64_t size, stride;
};

/// Of one parameter. One of fewer than two dimensions has a row for each element, and one column; so has a stack of
/// matrices of one element, whose row and column would be the same number.
struct Matrices {
  Extent extent;
  int group = 0;
  bool factored = false;
  bool lone = false;  // matrices of one element
  int64_t count = 1, rows = 1, columns = 1;
  int64_t row_stride = 1, column_stride = 1;  // floats
  RowColumn first;  // places of the first element; numbers of all parameters follow each other
  // As few as tell it:
  std::vector<Stack> stacks = {};     // within each other, the innermost first
  std::vector<int64_t> sizes = {};    // of dimensions as they lie in memory
  std::vector<RowColumn> steps = {};  // likewise

  int64_t row_count() const { return count * rows; }
  int64_t column_count() const { return count * columns; }
  /// Of a matrix, in the arena.
  int64_t begin(int64_t matrix) const;
};

std::vector<Matrices> matrices_of(const Arena& arena);

/// Calls body(part, places of its first element, places from one element to the next) for runs of neighbours in
/// memory. REQUIRES: the part is of the parameter.
template <typename Body>
void for_each_run(const Matrices& of, Extent part, Body body) {
  for (int64_t at = part.begin; at < part.end;) {
    int64_t index = at - of.extent.begin, left = 0;
    RowColumn places = of.first;
    for (size_t d = of.sizes.size(); d-- > 0;) {
      const int64_t whole = index / of.sizes[d], i = index - whole * of.sizes[d];
      if (d + 1 == of.sizes.size()) left = of.sizes[d] - i;
      places.row += i * of.steps[d].row;
      places.column += i * of.steps[d].column;
      index = whole;
    }
    const int64_t end = std::min(part.end, at + left);
    body(Extent{at, end}, places, of.steps.back());
    at = end;
  }
}

}  // namespace stoker::optim
