#pragma once
// Matrices as products of two thin ones, as PowerSGD has them. Vogels et al. 2019, "PowerSGD: Practical Low-Rank
// Gradient Compression for Distributed Optimization". Pure; the same bits whatever the machine's vector instructions.
//
// vocabulary: a *left* factor has `rank` rows of as many numbers as the matrix has rows, a *right* one `rank` rows of
// as many as it has columns; their *product* is left^T right.
#include <cstdint>
#include <vector>

#include "optim/arena.h"

namespace stoker::sync {

/// A parameter that is compressed: its first dimension, as it lies, by all others.
struct Matrix {
  optim::Extent extent;  // in the arena
  int64_t rows = 0, columns = 0;
  int64_t rank = 0;
  int64_t left = 0, right = 0;  // where its factors begin among those of all matrices
};

/// What of an arena is compressed.
struct LowRank {
  std::vector<Matrix> matrices;
  std::vector<optim::Extent>
      whole;                      // parameters that are not: those of one dimension, and where factors are no smaller
  int64_t lefts = 0, rights = 0;  // floats of all factors
};
LowRank low_rank(const optim::Arena& arena, int64_t rank);

/// Factors that a fit begins with: numbers from -1 to 1, the same everywhere.
void begin_factors(float* rights, int64_t floats);

/// left = right matrix^T
void left_of(const Matrix& m, const float* matrix, const float* right, float* left);
/// right = left matrix
void right_of(const Matrix& m, const float* matrix, const float* left, float* right);
/// matrix -= left^T right
void subtract_product(const Matrix& m, const float* left, const float* right, float* matrix);
/// Elements of the product from begin to end, row by row.
void write_product(const Matrix& m, const float* left, const float* right, optim::Extent part, float* out);
/// Makes the rows of a left factor orthonormal. A row that is no direction of its own, such as zeros, becomes one that
/// `key` draws, so that it may catch something later; one that is not finite makes others so.
void orthonormalise(const Matrix& m, float* left, uint64_t key);

}  // namespace stoker::sync
