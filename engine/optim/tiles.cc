#include "optim/tiles.h"

#include <algorithm>

#include "base/clones.h"

namespace stoker::optim {
namespace {

constexpr int64_t kTile = 16 * kBlock;  // floats, about
constexpr int64_t kLines = 32;          // of a tile, where there are as many: each column of it is a sum
constexpr int kLanes = 8;

/// A matrix, or a part, as it lies in memory: lines apart, elements of a line together, or less so.
struct Lines {
  int64_t stride, count;
  int64_t element_stride, elements;
};

/// Squares of a line's elements: added to those of the other lines, and their sum.
template <bool kDense>
[[gnu::always_inline]] inline double add_squares(const float* line, int64_t stride, int64_t count, double* across) {
  const int64_t apart = kDense ? 1 : stride;
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int l = 0; l < kLanes; ++l) {
      const double value = line[(i + l) * apart], square = value * value;
      lanes[l] += square;
      across[i + l] += square;
    }
  double rest = 0;
  for (; i < count; ++i) {
    const double value = line[i * apart], square = value * value;
    rest += square;
    across[i] += square;
  }
  if (count < kLanes) return rest;
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  return lanes[0] + rest;
}

/// Along each line and across all of them, in one order on every instruction set.
STOKER_CLONES void add_up_lines(const float* first, const Lines& lines, double* along, double* across) {
  std::fill_n(across, lines.elements, 0.0);
  for (int64_t i = 0; i < lines.count; ++i, first += lines.stride)
    along[i] = lines.element_stride == 1 ? add_squares<true>(first, 1, lines.elements, across)
                                         : add_squares<false>(first, lines.element_stride, lines.elements, across);
}

/// Whether columns are the lines: what is nearer in memory is a line's.
bool lies_by_column(const Matrices& m) { return m.columns == 1 || (m.rows > 1 && m.row_stride < m.column_stride); }

int64_t parts_of(int64_t whole, int64_t part) { return (whole + part - 1) / part; }

}  // namespace

TileSums::Cut TileSums::cut(const Matrices& m) {
  if (m.rows * m.columns <= kTile)
    return {.matrices = kTile / std::max<int64_t>(m.rows * m.columns, 1), .rows = m.rows, .columns = m.columns};
  const bool by_column = lies_by_column(m);
  const int64_t lines = by_column ? m.columns : m.rows, elements = by_column ? m.rows : m.columns;
  const int64_t some = std::min(lines, std::max(kLines, kTile / elements)), of_each = std::min(elements, kTile / some);
  return {.matrices = 1, .rows = by_column ? of_each : some, .columns = by_column ? some : of_each};
}

TileSums::TileSums(const std::vector<Matrices>& parameters) : parameters_(parameters) {
  for (const Matrices& m : parameters) {
    Cut c = cut(m);
    c.by_row = m.rows == 0 ? 0 : parts_of(m.rows, c.rows), c.by_column = parts_of(m.columns, c.columns);
    c.first = tiles_, c.row_sums = size_, c.column_sums = size_ + c.by_column * m.row_count();
    tiles_ += parts_of(m.count, c.matrices) * c.by_row * c.by_column;
    size_ = c.column_sums + c.by_row * m.column_count();
    cuts_.push_back(c);
  }
}

Parts TileSums::rows(size_t parameter, const double* sums) const {
  const Cut& c = cuts_[parameter];
  return {sums + c.row_sums, c.by_column, parameters_[parameter].row_count()};
}

Parts TileSums::columns(size_t parameter, const double* sums) const {
  const Cut& c = cuts_[parameter];
  return {sums + c.column_sums, c.by_row, parameters_[parameter].column_count()};
}

void TileSums::add_up(Extent tiles, const float* values, double* sums) const {
  if (tiles.size() <= 0) return;
  const auto after = std::ranges::upper_bound(cuts_, tiles.begin, {}, &Cut::first);
  for (size_t p = after - cuts_.begin() - 1; p < cuts_.size() && cuts_[p].first < tiles.end; ++p) {
    const int64_t first = cuts_[p].first, end = p + 1 < cuts_.size() ? cuts_[p + 1].first : tiles_;
    const Extent mine = overlap(tiles, {first, end});
    for (int64_t tile = mine.begin; tile < mine.end; ++tile) add_up(p, tile - first, values, sums);
  }
}

void TileSums::add_up(size_t parameter, int64_t tile, const float* values, double* sums) const {
  const Matrices& m = parameters_[parameter];
  const Cut& c = cuts_[parameter];
  const int64_t part_of_columns = tile % c.by_column, part_of_rows = tile / c.by_column % c.by_row;
  const int64_t row = part_of_rows * c.rows, column = part_of_columns * c.columns;
  const int64_t rows = std::min(c.rows, m.rows - row), columns = std::min(c.columns, m.columns - column);
  const bool by_column = lies_by_column(m);
  const Lines lines = by_column ? Lines{m.column_stride, columns, m.row_stride, rows}
                                : Lines{m.row_stride, rows, m.column_stride, columns};
  const int64_t from = tile / (c.by_column * c.by_row) * c.matrices, to = std::min(from + c.matrices, m.count);
  double* of_rows = sums + c.row_sums + part_of_columns * m.row_count() + from * m.rows + row;
  double* of_columns = sums + c.column_sums + part_of_rows * m.column_count() + from * m.columns + column;
  for (int64_t i = from; i < to; ++i, of_rows += m.rows, of_columns += m.columns)
    add_up_lines(values + m.begin(i) + row * m.row_stride + column * m.column_stride, lines,
                 by_column ? of_columns : of_rows, by_column ? of_rows : of_columns);
}

}  // namespace stoker::optim
