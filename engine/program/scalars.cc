#include "program/scalars.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"

namespace stoker::program {
namespace {

struct Shape {
  int64_t items = 0;    // predictions
  int64_t classes = 1;  // numbers of the output for each
};

Shape shape_of(MetricKind kind, const at::Tensor& output, const at::Tensor& label) {
  Shape shape{output.numel()};
  if (kind == MetricKind::argmax) {
    if (output.dim() == 0) fail_user("the metric needs one number for each class, and the output is a single number");
    shape.classes = output.size(-1);
    shape.items = shape.classes ? output.numel() / shape.classes : 0;
  }
  if (label.numel() != shape.items) {
    fail_user("the metric has ", shape.items, " predictions for ", label.numel(), " labels");
  }
  return shape;
}

double predict(MetricKind kind, const float* output, int64_t classes) {
  if (kind == MetricKind::sign) return *output > 0.0F;
  if (kind == MetricKind::half) return *output > 0.5F;
  return static_cast<double>(std::max_element(output, output + classes) - output);
}

// How many predictions one weight is for; 0 without weights.
int64_t share_of(const at::Tensor* weight, int64_t items) {
  if (!weight || items == 0) return 0;
  if (weight->numel() == 0 || items % weight->numel() != 0) {
    fail_user("the metric has ", items, " predictions for ", weight->numel(), " weights");
  }
  return items / weight->numel();
}

at::Tensor plain(const at::Tensor& tensor, at::ScalarType type) { return tensor.detach().to(type).contiguous(); }

}  // namespace

double single_number(const c10::IValue& value) {
  if (!value.isTensor()) return value.toScalar().toDouble();
  const auto& tensor = value.toTensor();
  if (tensor.numel() != 1) fail_user("the loss must be one number, and is a tensor of ", tensor.numel());
  if (tensor.scalar_type() == at::kFloat) return *tensor.const_data_ptr<float>();
  return tensor.item().toDouble();
}

MetricSums measure(MetricKind kind, const at::Tensor& output, const at::Tensor& label, const at::Tensor* weight) {
  const auto shape = shape_of(kind, output, label);
  const auto outputs = plain(output, at::kFloat);
  const auto labels = plain(label, at::kDouble);
  const auto weights = weight ? plain(*weight, at::kFloat) : at::Tensor();
  const int64_t share = share_of(weight, shape.items);
  const auto* x = outputs.const_data_ptr<float>();
  const auto* y = labels.const_data_ptr<double>();
  const auto* w = share ? weights.const_data_ptr<float>() : nullptr;
  MetricSums sums;
  for (int64_t i = 0; i < shape.items; ++i) {
    if (kind == MetricKind::argmax && !(y[i] >= 0 && y[i] < static_cast<double>(shape.classes))) continue;
    const double each = w ? w[i / share] : 1.0;
    sums.counted += each;
    if (predict(kind, x + i * shape.classes, shape.classes) == y[i]) sums.correct += each;
  }
  return sums;
}

}  // namespace stoker::program
