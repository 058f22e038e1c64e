#include "program/chain.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/pulse.h"
#include "program/class_head.h"
#include "program/dense_kernels.h"
#include "program/dense_layers.h"
#include "program/loss.h"
#include "program/plan.h"
#include "program/weights.h"

namespace stoker::program {
namespace {

using c10::IValue;

class Chain final : public Step {
 public:
  Chain(Trunk trunk, const Program& whole, const optim::Arena& arena, const SafeTensors& constants,
        const DenseKernels& kernels);

  void bind(int set, float* weights, float* buffers, int64_t* counts) override {
    if (static_cast<size_t>(set) >= weights_.size()) weights_.resize(set + 1);
    weights_[set] = weights;
  }
  StepScalars run(int set, const std::vector<at::Tensor>& inputs, float* gradient, float* buffers_out,
                  const RandomKey& key) override {
    return run_together(set, {{inputs, key}}, {{0}, {gradient}}).front();
  }
  bool spares_inputs() const override { return !plan_.writes(); }
  bool runs_together() const override { return true; }
  std::vector<StepScalars> run_together(int set, const std::vector<MicroBatch>& batches,
                                        const GradientStack& gradients) override;

 private:
  at::Tensor features(const MicroBatch& batch) const;
  std::vector<int64_t> output_shape(const at::Tensor& features) const;
  StepScalars run_head(size_t number, const MicroBatch& batch, const at::Tensor& features);
  void fill_slots(const MicroBatch& batch);
  std::optional<StepScalars> run_class_head(size_t number, const MicroBatch& batch, const at::Tensor& features);

  const Trunk trunk_;
  const optim::Arena& arena_;
  const std::vector<optim::Extent> padding_;
  DenseLayers layers_;
  const DenseKernels& kernels_;
  const Plan plan_;  // of the head
  const std::optional<ClassHead> classes_;
  const Plan rest_;  // of the head without the loss, where that is a cross entropy over classes
  std::vector<IValue> constants_;
  std::vector<const float*> weights_;  // by set
  Slots slots_;
};

/// The layers, whose weights are parameters, by these numbers.
std::vector<DenseLayer> by_numbers(std::vector<DenseLayer> layers, const std::vector<Parameter>& parameters) {
  const auto number_of = [&](int slot) {
    return static_cast<int>(std::ranges::find(parameters, slot, &Parameter::slot) - parameters.begin());
  };
  for (auto& layer : layers) {
    layer.weight = number_of(layer.weight);
    if (layer.bias != -1) layer.bias = number_of(layer.bias);
  }
  return layers;
}

Chain::Chain(Trunk trunk, const Program& whole, const optim::Arena& arena, const SafeTensors& constants,
             const DenseKernels& kernels)
    : trunk_(std::move(trunk)),
      arena_(arena),
      padding_(arena.padding()),
      layers_(by_numbers(trunk_.layers, whole.parameters), arena, kernels),
      kernels_(kernels),
      plan_(trunk_.head),
      classes_(find_class_head(trunk_)),
      rest_(classes_ ? classes_->rest : trunk_.head),
      slots_(trunk_.head.slots) {
  for (const auto& c : trunk_.head.constants) {
    constants_.emplace_back(view_tensor(constants, c.name, c.dtype, c.shape, kTorchAlignment));
    pulse::beat();
  }
}

std::vector<StepScalars> Chain::run_together(int set, const std::vector<MicroBatch>& batches,
                                             const GradientStack& gradients) {
  if (batches.empty()) return {};
  const at::AutoGradMode with_gradients(true);
  const at::DisableRecordFunctionGuard no_profiler;
  std::vector<at::Tensor> features;
  std::vector<FeatureRows> rows;
  for (const auto& batch : batches) {
    features.push_back(this->features(batch));
    rows.push_back({features.back().const_data_ptr<float>(), features.back().numel() / trunk_.layers[0].in});
  }
  layers_.forward(std::move(rows), weights_[set]);
  std::vector<StepScalars> scalars;
  for (size_t i = 0; i < batches.size(); ++i) scalars.push_back(run_head(i, batches[i], features[i]));
  layers_.backward(gradients);
  for (float* vector : gradients.vectors)
    for (const auto gap : padding_) std::fill(vector + gap.begin, vector + gap.end, 0.0F);
  return scalars;
}

at::Tensor Chain::features(const MicroBatch& batch) const {
  if (batch.inputs.size() != trunk_.head.inputs.size()) {
    fail_user("the program has ", trunk_.head.inputs.size(), " inputs, and ", batch.inputs.size(), " are given");
  }
  const auto& x = batch.inputs[trunk_.input];
  const auto in = trunk_.layers[0].in;
  if (x.dim() == 0 || x.size(-1) != in || x.scalar_type() != at::kFloat) {
    fail_user(trunk_.where, " (aten.linear.default): input ", trunk_.head.inputs[trunk_.input].name, " needs rows of ",
              in, " float32, and is ", x.sizes(), " of ", x.scalar_type());
  }
  return x.contiguous();
}

std::vector<int64_t> Chain::output_shape(const at::Tensor& features) const {
  auto shape = features.sizes().vec();
  shape.back() = trunk_.layers.back().out;
  return shape;
}

void Chain::fill_slots(const MicroBatch& batch) {
  fill_inputs(trunk_.head, batch.inputs, slots_);
  for (size_t i = 0; i < constants_.size(); ++i) slots_[trunk_.head.constants[i].slot] = constants_[i];
}

/// None where torch has to look at it: other shapes, labels that are no class.
std::optional<StepScalars> Chain::run_class_head(size_t number, const MicroBatch& batch, const at::Tensor& features) {
  const auto shape = output_shape(features);
  if (!classes_ || shape.size() != 2 || shape[1] > kMostClasses) return std::nullopt;
  fill_slots(batch);
  const auto labels = slots_[classes_->label].toTensor();
  double loss = 0;
  const auto computed = [&] {
    return labels.dim() == 1 && labels.size(0) == shape[0] && labels.scalar_type() == at::kLong &&
           kernels_.class_loss({layers_.output(number), labels.contiguous().const_data_ptr<int64_t>(),
                                layers_.output_gradient(number), shape[0], shape[1], classes_->ignored},
                               &loss);
  };
  if (!computed()) return std::nullopt;
  slots_[trunk_.output] = at::from_blob(layers_.output(number), shape, at::kFloat);
  rest_.run(slots_, batch.key);
  slots_[classes_->loss] = at::scalar_tensor(loss, at::kDouble);
  const auto scalars = loss_scalars(trunk_.head, slots_, batch.inputs.front().size(0));
  std::fill(slots_.begin(), slots_.end(), IValue());
  return scalars;
}

StepScalars Chain::run_head(size_t number, const MicroBatch& batch, const at::Tensor& features) {
  if (const auto scalars = run_class_head(number, batch, features)) return *scalars;
  fill_slots(batch);
  auto output = at::from_blob(layers_.output(number), output_shape(features), at::kFloat).set_requires_grad(true);
  slots_[trunk_.output] = output;
  plan_.run(slots_, batch.key);
  const auto scalars = loss_scalars(trunk_.head, slots_, batch.inputs.front().size(0));
  const auto gradient = backward(trunk_.head, slots_, {torch::autograd::impl::gradient_edge(output)})[0];
  std::fill(slots_.begin(), slots_.end(), IValue());
  auto place = at::from_blob(layers_.output_gradient(number), output.sizes(), at::kFloat);
  gradient.defined() ? place.copy_(gradient) : place.zero_();
  return scalars;
}

}  // namespace

std::unique_ptr<Step> make_chain(const Program& program, const optim::Arena& arena, const SafeTensors& constants) {
  const auto* kernels = usable_dense_kernels();
  if (!kernels) return nullptr;
  auto trunk = find_trunk(program);
  if (!trunk || Plan(trunk->head).writes()) return nullptr;  // it may write into what the chain gave, by a view
  return std::make_unique<Chain>(std::move(*trunk), program, arena, constants, *kernels);
}

}  // namespace stoker::program
