#pragma once
// The few numbers that one run adds to a step: loss and metric, summed in doubles over the micro-batch in row order.
#include <ATen/core/Tensor.h>

#include "program/arguments.h"
#include "program/format.h"

namespace stoker::program {

/// The value of a slot that holds one number.
double single_number(const c10::IValue& value);

struct MetricSums {
  double correct = 0;
  double counted = 0;
};
/// argmax: the first largest of the last dimension wins; labels outside [0, classes) are not counted.
MetricSums measure(MetricKind kind, const at::Tensor& output, const at::Tensor& label, const at::Tensor* weight);

}  // namespace stoker::program
