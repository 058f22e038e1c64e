#include "program/landing.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/variable.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/error.h"

namespace stoker::program {

using torch::autograd::Node;
using torch::autograd::variable_list;

namespace {

// Its bytes are those of a contiguous float tensor.
bool is_plain(const at::Tensor& t) {
  return t.layout() == at::kStrided && t.scalar_type() == at::kFloat && t.is_contiguous() && !t._is_zerotensor();
}

}  // namespace

// Stands where autograd would put AccumulateGrad. The engine has added up the gradients of all uses when it gets here.
struct Landing::End : Node {
  End(Landing& landing, int parameter, const at::Tensor& leaf)
      : Node(/*sequence_nr=*/std::numeric_limits<uint64_t>::max()), landing_(landing), parameter_(parameter) {
    add_input_metadata(leaf);
  }
  variable_list apply(variable_list&& gradients) override {
    if (gradients[0].defined()) landing_.land(parameter_, gradients[0]);
    return {};
  }
  Landing& landing_;
  int parameter_;
};

Landing::Landing(const optim::Arena& arena)
    : arena_(arena), padding_(arena.padding()), landed_(arena.parameters().size(), false) {}

at::Tensor Landing::leaf(int parameter, float* weights) {
  const auto& spec = arena_.parameters()[parameter];
  auto leaf = at::from_blob(weights + arena_.extent(parameter).begin, spec.shape, at::kFloat);
  leaf.set_requires_grad(true);
  auto end = c10::make_intrusive<End>(*this, parameter, leaf);
  torch::autograd::impl::set_grad_accumulator(leaf, c10::weak_intrusive_ptr<Node>(end));
  std::erase_if(ends_, [](const Held& held) { return held.leaf.expired(); });
  ends_.push_back({std::move(end), Held::Leaf(leaf.getIntrusivePtr())});
  places_.clear();  // of a generation before this
  return leaf;
}

void Landing::begin(float* gradient) {
  gradient_ = gradient;
  std::fill(landed_.begin(), landed_.end(), false);
  auto& places = places_[gradient];
  for (size_t i = places.size(); i < landed_.size(); ++i) {
    places.push_back(at::from_blob(gradient + arena_.extent(i).begin, arena_.parameters()[i].shape, at::kFloat));
  }
  current_ = &places;
}

const at::Tensor& Landing::place(int parameter, bool& first) {
  first = !landed_[parameter];
  landed_[parameter] = true;
  return (*current_)[parameter];
}

void Landing::land(int parameter, const at::Tensor& gradient) {
  bool first = false;
  const auto& to = place(parameter, first);
  STOKER_CHECK(gradient.numel() == to.numel());
  if (!first) {
    to.add_(gradient);
  } else if (is_plain(gradient)) {
    std::memcpy(to.mutable_data_ptr(), gradient.const_data_ptr(), to.nbytes());
  } else {
    to.copy_(gradient.is_sparse() ? gradient.to_dense() : gradient);
  }
}

void Landing::finish() {
  const auto zero = [&](optim::Extent part) { std::fill(gradient_ + part.begin, gradient_ + part.end, 0.0F); };
  for (size_t i = 0; i < landed_.size(); ++i) {
    if (!landed_[i]) zero(arena_.extent(i));
  }
  std::ranges::for_each(padding_, zero);
}

}  // namespace stoker::program
