#pragma once
// Matrix products for layers whose weights fit into the second-level cache, compiled once per instruction set from
// dense.inc. Weights are not packed, so few rows cost no more each than many.
//
// The bits of an element depend on the terms of its own sum only, which are added in one fixed order, never on how many
// rows or columns there are beside it: rows may be computed together or apart.
//
// Files that are compiled for more than the base instruction set include this header only: inline functions of library
// headers would be compiled for that set too, and the linker might keep those copies for everybody.
#include <cstdint>

namespace stoker::program {

/// y(m, n) = sum over k of x(m, k) w(n, k). All three are dense, row by row.
struct RowProduct {
  const float* x;
  const float* w;
  float* y;
  int64_t rows, in, out;
};

/// A summand of a folded product: sum over p of a(i, p) b(p, j), with a at [i * a_row + p * a_step] and b at
/// [p * b_row + j]. It is put on a stack of matrices, of which the topmost two are then added `merges` times.
struct FoldTerm {
  const float* a;
  const float* b;
  int64_t depth;  // p < depth; 0 gives zeros
  int merges;
};

/// What is on the stack after all terms, bottom up, goes to outs[0], outs[1], ...: element (i, j) to [i * out_row + j].
/// The stack is never higher than out_count + kFoldStack. Where `bf16` is set each summand, and each sum of two, is
/// rounded as base/bf16.h does.
struct FoldedProduct {
  int64_t rows = 0, columns = 0;
  int64_t a_row = 0, a_step = 0, b_row = 0, out_row = 0;
  const FoldTerm* terms = nullptr;
  int term_count = 0;
  float* const* outs = nullptr;
  int out_count = 0;
  bool bf16 = false;
  float* scratch = nullptr;  // (kFoldStrip + rows) * (depth of all terms) floats, 64-byte aligned
};
inline constexpr int kFoldStack = 32;
inline constexpr int64_t kFoldStrip = 32;

/// What follows a layer, element by element: max(y, 0), 1 / (1 + exp(-y)), tanh(y). NaN stays. The latter two are
/// within 3 units in the last place of the true value, from 1e-37 on.
enum class Activation { none, relu, sigmoid, tanh };

/// y(m, n) += bias[n] where there is one; then the activation.
struct RowFinish {
  float* y;
  const float* bias;
  int64_t rows, out;
  Activation activation;
};

inline constexpr int64_t kMostClasses = 64;

/// Cross entropy, summed over rows of so many classes: torch.nn.functional.cross_entropy(x, labels, reduction="sum").
struct ClassLoss {
  const float* x;
  const int64_t* labels;
  float* gradient;  // of the loss by x
  int64_t rows, classes;
  int64_t ignored;  // a label whose rows do not count
};

/// y(i, j) = sum over p of a(i, p) b[shifts[p] + j], with a at [i * depth + p] and y at [i * y_row + j]: where b is
/// planes of an image, and a shift for each place of a kernel, that is a convolution.
struct ShiftedProduct {
  const float* a;
  const float* b;
  const int64_t* shifts;
  float* y;
  int64_t rows, columns, depth, y_row;
};

/// sums(i, p) += sum over j of d(i, j) x[shifts[p] + j], with d at [i * d_row + j]: each is a vector of sums, of which
/// lane l has every j with j % lanes = l. Reads up to whole vectors of d and x.
struct ShiftedSums {
  const float* d;
  const float* x;
  const int64_t* shifts;
  float* sums;  // (rows, depth, lanes)
  int64_t rows, columns, depth, d_row;
};

struct DenseKernels {
  void (*product)(const RowProduct&);
  void (*fold)(const FoldedProduct&);
  void (*finish)(const RowFinish&);
  /// For n elements: gradient by what the activation made, y, becomes the gradient by what it was given.
  void (*activation_backward)(Activation activation, float* gradient, const float* y, int64_t n);
  /// False where a label is no class; what was written then means nothing. REQUIRES: 0 < classes <= kMostClasses.
  bool (*class_loss)(const ClassLoss&, double* loss);
  void (*shifted)(const ShiftedProduct&);
  void (*shifted_sums)(const ShiftedSums&);
  /// out[i] = the sum of the lanes of vector i of `sums`, for n of them.
  void (*sum_lanes)(const float* sums, int64_t n, float* out);
  int lanes;  // of a vector
};
inline constexpr int kMostLanes = 16;

/// For a level as base/level.h numbers them, none for the lowest. REQUIRES: the CPU has it.
const DenseKernels* dense_kernels(int level);

#ifdef __x86_64__
extern const DenseKernels kAvx2Dense;
extern const DenseKernels kAvx512Dense;
#endif

}  // namespace stoker::program
