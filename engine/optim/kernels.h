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

struct Kernels {
  void (*sgd)(const SgdScalars& by, const Streams& at, int64_t begin, int64_t end);
  void (*adam)(const AdamScalars& by, const Streams& at, int64_t begin, int64_t end);
  /// out[b] = sum of (scale * gradient[b * 1024 + i])^2.
  void (*block_norms)(const float* gradient, float scale, int64_t blocks, double* out);
};

/// REQUIRES: the CPU has it.
const Kernels& kernels(Isa isa);

extern const Kernels kPortableKernels;
#ifdef __x86_64__
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#endif

}  // namespace stoker::optim
