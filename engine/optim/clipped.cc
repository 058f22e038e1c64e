#include "optim/clipped.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "optim/kernels.h"
#include "optim/pieces.h"

namespace stoker::optim {
namespace {

class Clipped : public Optimizer {
 public:
  Clipped(std::unique_ptr<Optimizer> inner, const ClipOptions& options, const Arena& arena)
      : inner_(std::move(inner)), options_(options), pieces_(pieces_of(arena)), parameters_(arena.parameters().size()) {
    STOKER_CHECK(inner_->sums() == 0);
  }

  int state_buffers() const override { return inner_->state_buffers(); }
  std::vector<std::string> state_names() const override { return inner_->state_names(); }
  int64_t sums() const override { return static_cast<int64_t>(pieces_.size()); }

  void measure(int, Extent range, const Moment&, const UpdateBuffers& buffers, double* sums) const override {
    STOKER_CHECK(range.begin % kBlock == 0 && range.size() % kBlock == 0);
    for_each_piece(pieces_, range, [&](size_t i, Extent part) {
      float block[kBlock] = {};
      std::copy(buffers.gradient + part.begin, buffers.gradient + part.end, block);
      kernels(best_isa()).block_norms(block, buffers.gradient_scale, 1, sums + i);
    });
  }

  std::vector<float> factors(const double* sums) const override {
    std::vector<double> squares(parameters_);
    double all = 0;
    for (size_t i = 0; i < pieces_.size(); ++i) {
      squares[pieces_[i].parameter] += sums[i];
      all += sums[i];
    }
    std::vector<float> factors;
    for (const double square : squares) factors.push_back(factor(std::sqrt(options_.by_parameter ? square : all)));
    return factors;
  }

  void update(Extent range, const Moment& at, const UpdateBuffers& buffers) const override {
    UpdateBuffers mine = buffers;
    mine.factors = nullptr;
    int64_t begin = range.begin;
    for_each_piece(pieces_, range, [&](size_t i, Extent part) {
      const bool last = i + 1 == pieces_.size() || pieces_[i + 1].extent.begin >= range.end;
      const int64_t end = last ? range.end : pieces_[i + 1].extent.begin;  // with the padding behind it
      const float factor = buffers.factors ? buffers.factors[pieces_[i].parameter] : 1;
      mine.gradient_scale = buffers.gradient_scale * factor;
      inner_->update({begin, end}, at, mine);
      begin = std::max(end, part.end);
    });
    if (begin < range.end) inner_->update({begin, range.end}, at, mine);
  }

 private:
  float factor(double norm) const {
    if (!std::isfinite(norm)) return std::numeric_limits<float>::quiet_NaN();
    return static_cast<float>(options_.norm / std::max(norm, options_.norm));
  }

  std::unique_ptr<Optimizer> inner_;
  ClipOptions options_;
  std::vector<Piece> pieces_;
  size_t parameters_;
};

}  // namespace

std::unique_ptr<Optimizer> make_clipped(std::unique_ptr<Optimizer> inner, const ClipOptions& options,
                                        const Arena& arena) {
  return std::make_unique<Clipped>(std::move(inner), options, arena);
}

}  // namespace stoker::optim
