#include "optim/matrices.h"

#include <numeric>

#include "base/error.h"

namespace stoker::optim {
namespace {

constexpr int64_t kStrip = 16 * kBlock;  // floats, about

/// Strides of dense dimensions.
std::vector<int64_t> strides_of(const std::vector<int64_t>& sizes) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t d = sizes.size(); d-- > 1;) strides[d - 1] = strides[d] * sizes[d];
  return strides;
}

std::vector<int> layout_of(const ParameterSpec& parameter) {
  std::vector<int> layout(parameter.shape.size());
  std::iota(layout.begin(), layout.end(), 0);
  if (parameter.layout.empty()) return layout;
  STOKER_CHECK(std::ranges::is_permutation(layout, parameter.layout));
  return parameter.layout;
}

/// Of one that has dimensions and elements.
void fill_matrices(const ParameterSpec& parameter, Matrices& m) {
  const auto layout = layout_of(parameter);
  const auto strides = strides_of(parameter.shape);
  const int row = layout[layout.size() - 2], column = layout.back();
  m.rows = parameter.shape[row], m.columns = parameter.shape[column];
  m.row_stride = strides[row], m.column_stride = strides[column];
  m.begins = {m.extent.begin};
  m.steps.assign(layout.size(), {});
  m.steps[row].row = m.steps[column].column = 1;
  for (size_t d = layout.size() - 2; d-- > 0;) {  // as the user counts them, the last one fastest
    const int64_t size = parameter.shape[layout[d]], stride = strides[layout[d]];
    m.steps[layout[d]] = {m.count * m.rows, m.count * m.columns};
    std::vector<int64_t> begins;
    for (int64_t i = 0; i < size; ++i)
      for (const int64_t begin : m.begins) begins.push_back(begin + i * stride);
    m.begins = std::move(begins);
    m.count *= size;
  }
}

}  // namespace

std::vector<Matrices> matrices_of(const Arena& arena) {
  std::vector<Matrices> all;
  RowColumn next;
  for (int p = 0; p < static_cast<int>(arena.parameters().size()); ++p) {
    const ParameterSpec& parameter = arena.parameters()[p];
    Matrices m{.extent = arena.extent(p), .group = parameter.group, .first = next};
    m.factored = parameter.shape.size() > 1 && m.extent.size() > 0;
    m.rows = m.extent.size();
    m.begins = {m.extent.begin};
    m.sizes = {std::max<int64_t>(m.rows, 1)};
    m.steps = {{1, 0}};
    if (m.factored) {
      m.sizes = parameter.shape;
      fill_matrices(parameter, m);
    }
    next.row += m.row_count();
    next.column += m.column_count();
    all.push_back(std::move(m));
  }
  return all;
}

std::vector<Strip> strips_of(const std::vector<Matrices>& parameters) {
  std::vector<Strip> strips;
  int64_t columns = 0;
  for (size_t p = 0; p < parameters.size(); ++p) {
    const Matrices& m = parameters[p];
    const int64_t rows = std::max<int64_t>(kStrip / m.columns, 1);
    for (int64_t i = 0; i < m.count; ++i)
      for (int64_t row = 0; row < m.rows; row += rows) {
        strips.push_back(
            {static_cast<int>(p), i, row, std::min(row + rows, m.rows), m.begins[i] + row * m.row_stride, columns});
        columns += m.columns;
      }
  }
  return strips;
}

}  // namespace stoker::optim
