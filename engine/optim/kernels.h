#pragma once
// The loops over the arena, compiled once per instruction set from kernels.inc. Every element is computed by the same
// operations in the same order on each, and without fused multiply-adds, so the bits are the same.
//
// Files that are compiled for more than the base instruction set include this header only: inline functions of library
// headers would be compiled for that set too, and the linker might keep those copies for everybody.
#include <cstdint>

namespace stoker::optim {

enum class Isa { portable, avx2, avx512 };

/// Bases of arena-shaped buffers; each output may be its input.
struct Streams {
  const float* gradient;
  const float* weights_in;
  float* weights_out;
  const float* state_in[3];
  float* state_out[3];
};

struct SgdScalars {
  float scale;  // of the gradient; negative to maximize
  float decay;  // weight_decay
  float momentum;
  float undamped;  // 1 - dampening
  float step;      // -lr
  bool nesterov;
  bool first;  // the momentum buffer becomes the gradient
};

struct AdamScalars {
  float scale;
  float decay;   // added to the gradient (Adam)
  float shrink;  // weights are multiplied by it (AdamW)
  float blend1;  // 1 - beta1
  float keep1;   // 1 - blend1
  float beta2;
  float blend2;       // 1 - beta2
  float correction2;  // 1 / sqrt(1 - beta2^step)
  float eps;
  float step;  // -lr / (1 - beta1^step)
  bool amsgrad;
};

/// Of the other optimizers; each takes what its formula has.
struct RuleScalars {
  float scale = 1;   // of the gradient; negative to maximize
  float decay = 0;   // added to the gradient, times the weights
  float shrink = 1;  // weights are multiplied by it
  float step = 0;    // of the weights: -lr, with its corrections
  float eps = 0;
  float keep1 = 0, blend1 = 0;  // of the mean: beta1 and 1 - beta1
  float keep2 = 0, blend2 = 0;  // of the squares
  float momentum = 0;
  float correction = 1;  // NAdam, RAdam, LAMB: of the squares; LAMB's correction1 is in blend3
  float more = 0;        // Adagrad: what its sums begin with; NAdam: of the mean; RAdam: lr; LAMB: decoupled decay
  float factor = 1;      // LAMB, RAdam: of the mean
  bool centered = false;
  bool rectified = false;
  bool first = false;  // the momentum buffer is zero
  bool nesterov = false;
  bool amsgrad = false;
  float l1 = 0, l2 = 0, pull = 0;  // Ftrl: l1, twice l2 with beta's part, twice the shrinkage; the rate is in factor
};
using RuleLoop = void (*)(const RuleScalars& by, const Streams& at, int64_t begin, int64_t end);

struct Kernels {
  void (*sgd)(const SgdScalars& by, const Streams& at, int64_t begin, int64_t end);
  void (*adam)(const AdamScalars& by, const Streams& at, int64_t begin, int64_t end);
  /// out[b] = sum of (scale * gradient[b * 1024 + i])^2.
  void (*block_norms)(const float* gradient, float scale, int64_t blocks, double* out);
  RuleLoop rmsprop, adagrad, adadelta, adamax, nadam, radam, lion;
  RuleLoop lars, lamb;
  RuleLoop keras_sgd, keras_adam, keras_rmsprop, keras_adagrad, keras_adamax, keras_ftrl;
  /// The direction that lamb() takes, without its state: out[i - begin], for its norm.
  void (*lamb_direction)(const RuleScalars& by, const Streams& at, int64_t begin, int64_t end, float* out);
};

/// REQUIRES: the CPU has it.
const Kernels& kernels(Isa isa);

extern const Kernels kPortableKernels;
#ifdef __x86_64__
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace stoker::optim
