#include "optim/matrices.h"

#include <numeric>

#include "base/error.h"

namespace stoker::optim {
namespace {

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

/// Around those that are there.
void stack(Matrices& m, int64_t size, int64_t stride) {
  if (size > 1 && !m.stacks.empty() && stride == m.stacks.back().size * m.stacks.back().stride)
    m.stacks.back().size *= size;
  else if (size > 1)
    m.stacks.push_back({size, stride});
  m.count *= size;
}

/// A dimension inside those that are there.
void nest(Matrices& m, int64_t size, RowColumn step) {
  if (size == 1) return;
  const bool even =
      !m.sizes.empty() && m.steps.back().row == size * step.row && m.steps.back().column == size * step.column;
  if (even) {
    m.sizes.back() *= size;
    m.steps.back() = step;
  } else {
    m.sizes.push_back(size);
    m.steps.push_back(step);
  }
}

bool of_one_element(const ParameterSpec& parameter) {
  const auto layout = layout_of(parameter);
  return parameter.shape[layout[layout.size() - 2]] * parameter.shape[layout.back()] == 1;
}

/// Of one that has dimensions and elements.
void fill_matrices(const ParameterSpec& parameter, Matrices& m) {
  const auto layout = layout_of(parameter);
  const auto strides = strides_of(parameter.shape);
  const int row = layout[layout.size() - 2], column = layout.back();
  m.rows = parameter.shape[row], m.columns = parameter.shape[column];
  m.row_stride = strides[row], m.column_stride = strides[column];
  std::vector<RowColumn> steps(layout.size());
  steps[row].row = steps[column].column = 1;
  for (size_t d = layout.size() - 2; d-- > 0;) {  // as the user counts them, the last one fastest
    steps[layout[d]] = {m.count * m.rows, m.count * m.columns};
    stack(m, parameter.shape[layout[d]], strides[layout[d]]);
  }
  for (size_t d = 0; d < layout.size(); ++d) nest(m, parameter.shape[d], steps[d]);
}

}  // namespace

int64_t Matrices::begin(int64_t matrix) const {
  int64_t at = extent.begin;
  for (size_t i = 0; i < stacks.size(); ++i) {
    const int64_t around = i + 1 < stacks.size() ? matrix / stacks[i].size : 0;
    at += (matrix - around * stacks[i].size) * stacks[i].stride;
    matrix = around;
  }
  return at;
}

std::vector<Matrices> matrices_of(const Arena& arena) {
  std::vector<Matrices> all;
  RowColumn next;
  for (int p = 0; p < static_cast<int>(arena.parameters().size()); ++p) {
    const ParameterSpec& parameter = arena.parameters()[p];
    Matrices m{.extent = arena.extent(p), .group = parameter.group, .first = next};
    const bool matrices = parameter.shape.size() > 1 && m.extent.size() > 0;
    m.lone = matrices && of_one_element(parameter);
    m.factored = matrices && !m.lone;
    m.rows = m.extent.size();
    if (m.factored) fill_matrices(parameter, m);
    if (!m.factored) nest(m, m.rows, {1, 0});
    if (m.sizes.empty()) m.sizes = {1}, m.steps = {{}};
    next.row += m.row_count();
    next.column += m.column_count();
    all.push_back(std::move(m));
  }
  return all;
}

}  // namespace stoker::optim
