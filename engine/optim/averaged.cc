#include "optim/averaged.h"

#include <algorithm>

#include "base/clones.h"
#include "base/error.h"

namespace stoker::optim {
namespace {

/// torch.lerp
STOKER_CLONES void approach(const float* average, const float* weights, float part, float* out, int64_t count) {
  const float rest = 1 - part;
  if (part < 0.5f) {
    for (int64_t i = 0; i < count; ++i) out[i] = average[i] + part * (weights[i] - average[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = weights[i] - (weights[i] - average[i]) * rest;
  }
}

class Averaged : public Optimizer {
 public:
  Averaged(std::unique_ptr<Optimizer> inner, const AverageOptions& options)
      : inner_(std::move(inner)), options_(options) {}

  int state_buffers() const override { return inner_->state_buffers() + 1; }
  std::vector<std::string> state_names() const override {
    auto names = inner_->state_names();
    names.push_back("average");
    return names;
  }
  int result() const override { return state_buffers() - 1; }
  int64_t sums() const override { return inner_->sums(); }
  int rounds() const override { return inner_->rounds(); }
  void measure(int round, Extent range, const Moment& at, const UpdateBuffers& buffers, double* sums) const override {
    inner_->measure(round, range, at, without_average(buffers), sums);
  }
  int64_t numbers() const override { return inner_->numbers(); }
  int64_t scratch() const override { return inner_->scratch(); }
  void decide(const Evaluated& told, double* decided) const override { inner_->decide(told, decided); }
  std::vector<float> factors(const double* sums) const override { return inner_->factors(sums); }

  void update(Extent range, const Moment& at, const UpdateBuffers& buffers) const override {
    inner_->update(range, at, without_average(buffers));
    const float* weights = buffers.weights_out + range.begin;
    const float* before = buffers.state_in.back() + range.begin;
    float* after = buffers.state_out.back() + range.begin;
    const int64_t turn = at.step - options_.start, count = turn / options_.every;
    if (turn <= 0) {
      std::copy(weights, weights + range.size(), after);
    } else if (turn % options_.every != 0) {
      std::copy(before, before + range.size(), after);
    } else {
      approach(before, weights, part(count), after, range.size());
    }
  }

 private:
  /// Of the weights in the new average, after so many.
  float part(int64_t count) const {
    return static_cast<float>(options_.decay > 0 ? 1 - options_.decay : 1.0 / static_cast<double>(count + 1));
  }
  static UpdateBuffers without_average(UpdateBuffers buffers) {
    buffers.state_in.pop_back();
    buffers.state_out.pop_back();
    return buffers;
  }

  std::unique_ptr<Optimizer> inner_;
  AverageOptions options_;
};

}  // namespace

std::unique_ptr<Optimizer> make_averaged(std::unique_ptr<Optimizer> inner, const AverageOptions& options) {
  return std::make_unique<Averaged>(std::move(inner), options);
}

}  // namespace stoker::optim
