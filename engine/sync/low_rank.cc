#include "sync/low_rank.h"

#include <algorithm>
#include <cmath>

#include "base/clones.h"
#include "base/hash.h"
#include "base/pulse.h"

namespace stoker::sync {

namespace {

constexpr int64_t kLanes = 16;
constexpr uint64_t kStart = 0x6c6f7772616e6b;  // of the first factors
constexpr double kOwnDirection = 1e-5;         // of a row's length, what others must leave of it

int64_t rounded(int64_t floats) { return (floats + optim::kAlign - 1) / optim::kAlign * optim::kAlign; }

float drawn(uint64_t key, int64_t i) {
  return static_cast<float>(splitmix64(key, static_cast<uint64_t>(i)) >> 40) / (1 << 23) - 1;
}

/// In lanes, and those in one order, so that vector instructions do not change the bits.
STOKER_CLONES float dot(const float* a, const float* b, int64_t count) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) lanes[k] += a[i + k] * b[i + k];
  for (int64_t k = 0; i + k < count; ++k) lanes[k] += a[i + k] * b[i + k];
  for (int64_t half = kLanes / 2; half > 0; half /= 2)
    for (int64_t k = 0; k < half; ++k) lanes[k] += lanes[k + half];
  return lanes[0];
}

STOKER_CLONES void add_scaled(const float* from, float scale, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += scale * from[i];
}

double exact_dot(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

double length(const float* a, int64_t count) { return std::sqrt(exact_dot(a, a, count)); }

/// Takes out what lies along the rows before it, twice, as the first time leaves some where little is left.
void project(const float* rows, int64_t before, float* row, int64_t count) {
  for (int pass = 0; pass < 2; ++pass)
    for (int64_t k = 0; k < before; ++k) {
      const float* other = rows + k * count;
      const double along = exact_dot(other, row, count);
      for (int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(row[i] - along * other[i]);
    }
}

/// Whether anything of its own is left of a row, which has length 1 then.
bool make_unit(const float* rows, int64_t before, float* row, int64_t count) {
  const double whole = length(row, count);
  if (whole == 0) return false;
  for (int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(row[i] / whole);
  project(rows, before, row, count);
  const double rest = length(row, count);
  if (rest <= kOwnDirection) return false;
  for (int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(row[i] / rest);
  return true;
}

}  // namespace

LowRank low_rank(const optim::Arena& arena, int64_t rank) {
  LowRank all;
  for (int p = 0; p < static_cast<int>(arena.parameters().size()); ++p) {
    const auto& shape = arena.parameters()[p].shape;
    Matrix m{arena.extent(p)};
    m.rows = shape.empty() ? 1 : shape[0];
    m.columns = m.rows > 0 ? m.extent.size() / m.rows : 0;
    m.rank = std::min({rank, m.rows, m.columns});
    if (shape.size() < 2 || m.rank * (m.rows + m.columns) >= m.rows * m.columns) {
      all.whole.push_back(m.extent);
      continue;
    }
    m.left = all.lefts;
    m.right = all.rights;
    all.lefts += rounded(m.rank * m.rows);
    all.rights += rounded(m.rank * m.columns);
    all.matrices.push_back(m);
  }
  return all;
}

void begin_factors(float* rights, int64_t floats) {
  for (int64_t i = 0; i < floats; ++i) rights[i] = drawn(kStart, i);
}

void left_of(const Matrix& m, const float* matrix, const float* right, float* left) {
  for (int64_t row = 0; row < m.rows; ++row) {
    for (int64_t k = 0; k < m.rank; ++k)
      left[k * m.rows + row] = dot(matrix + row * m.columns, right + k * m.columns, m.columns);
    pulse::beat();
  }
}

void right_of(const Matrix& m, const float* matrix, const float* left, float* right) {
  std::fill_n(right, m.rank * m.columns, 0.0F);
  for (int64_t row = 0; row < m.rows; ++row) {
    for (int64_t k = 0; k < m.rank; ++k)
      add_scaled(matrix + row * m.columns, left[k * m.rows + row], right + k * m.columns, m.columns);
    pulse::beat();
  }
}

void subtract_product(const Matrix& m, const float* left, const float* right, float* matrix) {
  for (int64_t row = 0; row < m.rows; ++row) {
    for (int64_t k = 0; k < m.rank; ++k)
      add_scaled(right + k * m.columns, -left[k * m.rows + row], matrix + row * m.columns, m.columns);
    pulse::beat();
  }
}

void write_product(const Matrix& m, const float* left, const float* right, optim::Extent part, float* out) {
  std::fill_n(out, part.size(), 0.0F);
  for (int64_t at = part.begin; at < part.end;) {
    const int64_t row = at / m.columns, column = at % m.columns;
    const int64_t count = std::min(m.columns - column, part.end - at);
    for (int64_t k = 0; k < m.rank; ++k)
      add_scaled(right + k * m.columns + column, left[k * m.rows + row], out + (at - part.begin), count);
    at += count;
  }
}

void orthonormalise(const Matrix& m, float* left, uint64_t key) {
  for (int64_t k = 0; k < m.rank; ++k) {
    float* row = left + k * m.rows;
    for (uint64_t draw = 0; !make_unit(left, k, row, m.rows); ++draw)
      for (int64_t i = 0; i < m.rows; ++i) row[i] = drawn(splitmix64(key + draw, static_cast<uint64_t>(m.left + k)), i);
  }
}

}  // namespace stoker::sync
