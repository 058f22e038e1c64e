#pragma once
// Optimizers as pure functions over a range of the arena: old weights and state in, new weights and state out.
// Every loop gives the same bits with AVX-512, AVX2 and portable code, and whatever the cut into ranges.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "optim/arena.h"
#include "optim/kernels.h"
#include "optim/schedule.h"

namespace stoker::optim {

/// The kernels of base/level.h's best level.
Isa best_isa();

/// Hyperparameters of one parameter group. Names, meanings and defaults are those of torch.optim.
struct GroupOptions {
  double lr = 1e-3;
  double weight_decay = 0;
  double momentum = 0;    // SGD
  double dampening = 0;   // SGD
  bool nesterov = false;  // SGD
  double beta1 = 0.9;     // Adam, AdamW
  double beta2 = 0.999;
  double eps = 1e-8;
  bool amsgrad = false;  // Adam, AdamW
  bool maximize = false;
  double alpha = 0.99;                                // RMSprop
  bool centered = false;                              // RMSprop
  double rho = 0.9;                                   // Adadelta
  double lr_decay = 0;                                // Adagrad
  double initial_accumulator_value = 0;               // Adagrad
  double momentum_decay = 4e-3;                       // NAdam
  bool decoupled_weight_decay = false;                // NAdam, RAdam
  double trust_coefficient = 1e-3;                    // LARS
  bool adapt = true;                                  // LARS, LAMB: the rate of each tensor by its norms
  double l1 = 0, l2 = 0, l2_shrinkage = 0, beta = 0;  // Keras' Ftrl
  double max_iter = 0;                                // L-BFGS; 0: no limit
  double tolerance_grad = 1e-7;                       // L-BFGS
  double tolerance_change = 1e-9;                     // L-BFGS
  double history_size = 10;                           // L-BFGS
  double beta2_decay = -0.8;                          // Adafactor
  double eps1 = 0x1p-23, eps2 = 1e-3;                 // Adafactor
  double d = 1;                                       // Adafactor: of the update's root mean square, at most
};

/// Gradients are shortened to a norm as Keras does it.
struct ClipOptions {
  double norm = 0;           // 0: off
  bool by_parameter = true;  // each tensor for itself, else all together
};

/// An average of the weights, which is what a fit gives.
struct AverageOptions {
  bool on = false;
  double decay = 0;   // EMA; 0: all weigh the same (SWA)
  int64_t start = 1;  // the first step whose weights are in it; before, it is the weights
  int64_t every = 1;  // steps from one to the next
};

struct OptimizerOptions {
  std::string name;  // "sgd", "adam", "adamw", "rmsprop", ...: see docs/optimizers.md
  std::vector<GroupOptions> groups;
  Schedule schedule = {};
  AverageOptions average = {};
  ClipOptions clip = {};
  /// Whether an update is of all rows, evaluated at one point.
  bool full_batch() const { return name == "lbfgs"; }
};
/// From {"name": "adam", "groups": [{"lr": 0.001, "betas": [0.9, 0.999], ...}, ...], "schedule": {...}}, fields named
/// as torch.optim's; "schedule" may be missing: see parse_schedule. Throws Error(user) on an unknown name or field and
/// on values that torch.optim refuses.
OptimizerOptions parse_optimizer(const std::string& json);

/// One range's view of the arena-shaped buffers; all pointers are to element `range.begin` of the arena's start, that
/// is: pass the buffers' bases, the range is applied inside. In and out may be the same buffer.
struct UpdateBuffers {
  const float* gradient = nullptr;  // the sum over shards, base of arena
  float gradient_scale = 1;         // multiplied in: 1 / denominator, times the clipping factor
  const float* weights_in;
  float* weights_out;
  std::vector<const float*> state_in;
  std::vector<float*> state_out;
  const float* factors = nullptr;   // by parameter, of Optimizer::factors(); none: all are 1
  const double* numbers = nullptr;  // of Optimizer::decide()
};

/// What decisions are made of.
struct Evaluated {
  const double* numbers;  // before the update
  double loss;            // of the weights before it
  const double* sums;     // of measure()
  Moment at = 1;
  int round = 0;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Arena-shaped float buffers of state, zero before the first step.
  virtual int state_buffers() const = 0;
  /// torch.optim's key of each state buffer ("exp_avg", "exp_avg_sq", "momentum_buffer", ...).
  virtual std::vector<std::string> state_names() const = 0;
  /// Before an update, where sums() is above 0, in each round: measure() over all of the arena, a range of whole blocks
  /// at a time; then, when all of it stands, decide(). After the last one factors() of what they wrote. In the first
  /// round each number is of one tensor's part of one block, later ones may be of all that was written before: so the
  /// order of summation depends on nothing but the arena. See measured().
  virtual int64_t sums() const { return 0; }
  virtual int rounds() const { return 1; }
  virtual void measure(int, Extent, const Moment&, const UpdateBuffers&, double*) const {}
  virtual std::vector<float> factors(const double*) const { return {}; }
  /// Numbers that are committed beside the buffers, zero before the first step. Where there are some decide() makes of
  /// those before an update, or after the round before, those after it, which it goes by; and ended() tells whether by
  /// them there is nothing more to do, and why. Behind them are scratch() more, from zero on, which nobody keeps.
  virtual int64_t numbers() const { return 0; }
  virtual int64_t scratch() const { return 0; }
  virtual void decide(const Evaluated&, double*) const {}
  virtual std::string ended(const double*) const { return ""; }
  /// The state buffer with the weights that the model gets; -1: the weights themselves.
  virtual int result() const { return -1; }
  /// Thread-safe over ranges that do not overlap.
  virtual void update(Extent range, const Moment& at, const UpdateBuffers& buffers) const = 0;
};

std::unique_ptr<Optimizer> make_optimizer(const OptimizerOptions& options, const Arena& arena, Isa isa);

inline constexpr int kMostRounds = 3;

/// What an update goes by, besides the buffers.
struct Measured {
  std::vector<float> factors;
  std::vector<double> numbers;  // and the optimizer's scratch()
};
/// All rounds. `pass` sees to it that measure() has been over all of the arena; it is given the round, and the numbers
/// that were decided before it. `room`: of the step before, whose memory is used again.
Measured measured(const Optimizer& optimizer, Evaluated told,
                  const std::function<void(int round, const std::vector<double>& numbers)>& pass, Measured room = {});

/// Sum of squares of each block in the range, scaled: out[b - begin_block] = sum((scale * gradient)^2) in a fixed
/// order. `gradient` is the arena's base; the range must be whole blocks.
void block_norms(Extent range, const float* gradient, float scale, double* out);
/// torch.nn.utils.clip_grad_norm_'s factor: min(1, max_norm / (norm + 1e-6)).
float clip_factor(double norm, double max_norm);

}  // namespace stoker::optim
