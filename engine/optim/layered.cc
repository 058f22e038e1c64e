#include "optim/layered.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "optim/grouped.h"
#include "optim/pieces.h"

namespace stoker::optim {
namespace {

float narrow(double value) { return static_cast<float>(value); }

/// Norms of a tensor's weights and of what would change them.
struct Norms {
  double weights = 0, change = 0;
};

class Layered : public GroupedOptimizer {
 public:
  Layered(const OptimizerOptions& options, const Arena& arena, Isa isa)
      : GroupedOptimizer(options, arena, isa), pieces_(pieces_of(arena)) {
    for (const auto& parameter : arena.parameters()) group_of_.push_back(parameter.group);
  }

  int64_t sums() const override { return 2 * static_cast<int64_t>(pieces_.size()); }

  void measure(int, Extent range, const Moment& at, const UpdateBuffers& buffers, double* sums) const override {
    STOKER_CHECK(range.begin % kBlock == 0 && range.size() % kBlock == 0);
    const Streams streams = streams_of(buffers);
    for_each_piece(pieces_, range, [&](size_t i, Extent part) {
      const GroupOptions group = now(group_of_[pieces_[i].parameter], at);
      float block[kBlock] = {};
      std::copy(buffers.weights_in + part.begin, buffers.weights_in + part.end, block);
      kernels_.block_norms(block, narrow(kept(group)), 1, sums + 2 * i);
      const double square = change(group, part, at.age(), buffers.gradient_scale, streams, block);
      sums[2 * i + 1] = square;
    });
  }

  std::vector<float> factors(const double* sums) const override {
    std::vector<Norms> norms(group_of_.size());
    for (size_t i = 0; i < pieces_.size(); ++i) {
      norms[pieces_[i].parameter].weights += sums[2 * i];
      norms[pieces_[i].parameter].change += sums[2 * i + 1];
    }
    std::vector<float> factors;
    for (size_t p = 0; p < norms.size(); ++p) {
      const Norms n{std::sqrt(norms[p].weights), std::sqrt(norms[p].change)};
      const GroupOptions& group = groups_[group_of_[p]];
      factors.push_back(group.adapt && n.weights != 0 && n.change != 0 ? narrow(factor(group, n)) : 1);
    }
    return factors;
  }

  void update(Extent range, const Moment& at, const UpdateBuffers& buffers) const override {
    const Streams streams = streams_of(buffers);
    for_each_piece(pieces_, range, [&](size_t i, Extent part) {
      const int parameter = pieces_[i].parameter;
      GroupOptions group = now(group_of_[parameter], at);
      if (buffers.factors) adapt(group, buffers.factors[parameter]);
      update_group(group, part, at.age(), buffers.gradient_scale, streams);
    });
    clear_padding(range, streams);
  }

 protected:
  /// The square of the norm of what would change the part; `block` is room for it.
  virtual double change(const GroupOptions& group, Extent part, int64_t step, float scale, const Streams& at,
                        float* block) const = 0;
  virtual double factor(const GroupOptions& group, const Norms& norms) const = 0;
  /// What is left of the weights before they are measured.
  virtual double kept(const GroupOptions&) const { return 1; }
  virtual void adapt(GroupOptions& group, float factor) const { group.lr *= factor; }

  double square_of(float* block, int64_t used) const {
    std::fill(block + used, block + kBlock, 0.0f);
    double square = 0;
    kernels_.block_norms(block, 1, 1, &square);
    return square;
  }

 private:
  std::vector<Piece> pieces_;  // ascending
  std::vector<int> group_of_;  // by parameter
};

class Lars : public Layered {
 public:
  using Layered::Layered;
  int state_buffers() const override { return 1; }
  std::vector<std::string> state_names() const override { return {"momentum_buffer"}; }

 private:
  void update_group(const GroupOptions& group, Extent part, int64_t, float scale, const Streams& at) const override {
    RuleScalars by;
    by.scale = group.maximize ? -scale : scale;
    by.decay = narrow(group.weight_decay);
    by.step = narrow(group.lr);
    by.momentum = narrow(group.momentum);
    kernels_.lars(by, at, part.begin, part.end);
  }
  double change(const GroupOptions&, Extent part, int64_t, float scale, const Streams& at,
                float* block) const override {
    for (int64_t i = part.begin; i < part.end; ++i) block[i - part.begin] = scale * at.gradient[i];
    return square_of(block, part.size());
  }
  double factor(const GroupOptions& group, const Norms& norms) const override {
    return group.trust_coefficient * norms.weights / (norms.change + group.weight_decay * norms.weights + group.eps);
  }
};

RuleScalars lamb_scalars(const GroupOptions& group, int64_t step, float scale) {
  RuleScalars by;
  by.scale = group.maximize ? -scale : scale;
  by.step = narrow(-group.lr);
  by.eps = narrow(group.eps);
  by.blend1 = narrow(1 - group.beta1);
  by.keep1 = 1 - by.blend1;
  by.blend2 = narrow(1 - group.beta2);
  by.keep2 = narrow(group.beta2);
  by.factor = narrow(1 / (1 - std::pow(group.beta1, static_cast<double>(step))));
  by.correction = narrow(1 / (1 - std::pow(group.beta2, static_cast<double>(step))));
  by.more = narrow(group.weight_decay);
  return by;
}

class Lamb : public Layered {
 public:
  using Layered::Layered;
  int state_buffers() const override { return 2; }
  std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq"}; }

 private:
  void update_group(const GroupOptions& group, Extent part, int64_t step, float scale,
                    const Streams& at) const override {
    kernels_.lamb(lamb_scalars(group, step, scale), at, part.begin, part.end);
  }
  double change(const GroupOptions& group, Extent part, int64_t step, float scale, const Streams& at,
                float* block) const override {
    kernels_.lamb_direction(lamb_scalars(group, step, scale), at, part.begin, part.end, block);
    return square_of(block, part.size());
  }
  double factor(const GroupOptions&, const Norms& norms) const override { return norms.weights / norms.change; }
};

/// Keras': weights decay first, apart from the direction.
class KerasLamb : public Layered {
 public:
  using Layered::Layered;
  int state_buffers() const override { return 2; }
  std::vector<std::string> state_names() const override { return {"momentum", "velocity"}; }

 private:
  void update_group(const GroupOptions& group, Extent part, int64_t step, float scale,
                    const Streams& at) const override {
    RuleScalars by = lamb_scalars(group, step, scale);
    by.more = 0;
    by.shrink = narrow(1 - group.lr * group.weight_decay);
    kernels_.lamb(by, at, part.begin, part.end);
  }
  double change(const GroupOptions& group, Extent part, int64_t step, float scale, const Streams& at,
                float* block) const override {
    RuleScalars by = lamb_scalars(group, step, scale);
    by.more = 0;
    kernels_.lamb_direction(by, at, part.begin, part.end, block);
    return square_of(block, part.size());
  }
  double factor(const GroupOptions&, const Norms& norms) const override { return norms.weights / norms.change; }
  double kept(const GroupOptions& group) const override { return 1 - group.lr * group.weight_decay; }
  /// The decay goes by the rate alone.
  void adapt(GroupOptions& group, float factor) const override {
    group.lr *= factor;
    group.weight_decay /= factor;
  }
};

}  // namespace

std::unique_ptr<Optimizer> make_layered(const OptimizerOptions& options, const Arena& arena, Isa isa) {
  if (options.name == "lars") return std::make_unique<Lars>(options, arena, isa);
  if (options.name == "keras_lamb") return std::make_unique<KerasLamb>(options, arena, isa);
  if (options.name == "lamb") return std::make_unique<Lamb>(options, arena, isa);
  return nullptr;
}

}  // namespace stoker::optim
