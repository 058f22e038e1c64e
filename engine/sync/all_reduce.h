#pragma once
// Synchronous data-parallel SGD by all-reduce: a commit is one step, of the gradients' sum over all shards. Partials
// stand -> totals -> (norms, when clipping) -> my slice of the new state -> all slices stand -> flip.
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "sync/strategy.h"

namespace stoker::sync {

struct AllReduceOptions {
  int shards = 1;
  bool mean = true;              // the gradient is divided by the loss's total denominator
  double clip_norm = 0;          // 0: off. Norm over all gradients, as torch.nn.utils.clip_grad_norm_
  double clip_value = 0;         // 0: off. After clip_norm where both are on
  bool in_place = false;         // benches: over the old state, so that nobody may die
  std::vector<int> owners = {};  // by shard, the rank that owns it; empty: collective::even_owners()
  int numbers = 0;               // of a shard, that add_up() takes; 0: it is not called
  collective::Code code = {};    // of each shard's part of the arena: what is added up is what its code says. Shards do
                                 // not run together then
  int carried = 0;  // of the state's optimizer buffers the last ones, which are not the optimizer's: like the float
                    // buffers each shard gives its share of them
};

class AllReduce : public Strategy {
 public:
  /// `state` has the optimizer's state buffers and `carried` more.
  AllReduce(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
            const AllReduceOptions& options);

  void begin(const Round& round) override;
  void run(const Part& part, const Run& run) override;
  bool runs_together() const override { return true; }
  collective::OwnFold own_fold() override { return sum_->own_fold(); }
  void put_all(const std::vector<int>& shards, const std::vector<Scalars>& scalars) override;
  void publish() override;
  Scalars exchange() override;
  bool pausing() const override { return pausing_; }
  Wish heard() const override { return heard_; }
  bool make(StepTimes& times) override;
  void keep(StepTimes& times) override;
  std::vector<double> add_up(const std::vector<bool>& present, bool pause,
                             const std::map<int, std::vector<double>>& numbers) override;
  void commit() override;

  /// Instead of run(): where the next owned shard's gradient goes, followed by its share of the float buffers and of
  /// what is carried; then put().
  float* partial() { return sum_->next(); }
  void put(int shard, const Scalars& scalars);

 protected:
  int64_t step() const { return static_cast<int64_t>(next_ - 1); }
  int old_set() const { return HostState::set_of(next_ - 1); }
  int new_set() const { return options_.in_place ? old_set() : HostState::set_of(next_); }
  /// Of a part of the arena: the new weights and the optimizer's state.
  virtual void update(optim::Extent range, const optim::UpdateBuffers& buffers);

  collective::Group& group_;
  const optim::Arena& arena_;
  const optim::Optimizer& optimizer_;
  HostState& state_;
  const AllReduceOptions options_;
  Round round_;

 private:
  Wish wish_of(int shard) const;
  void put_scalars(int shard, const Scalars& scalars);
  float clip(float scale, StepTimes& times);
  void measure(float scale, StepTimes& times);
  bool write(optim::Extent range, float scale);
  bool carry(optim::Extent range, float* to);
  void keep_floats(optim::Extent range);
  void write_counts(int64_t more);
  void write_numbers(const double* numbers);
  void stand(collective::Phase phase, StepTimes& times);
  optim::UpdateBuffers buffers(optim::Extent range, float scale);

  std::unique_ptr<collective::ShardSum> sum_;
  std::unique_ptr<collective::ShardSum> numbers_;  // of add_up()
  uint64_t next_ = 0;                              // the commit that this round makes
  bool made_ = false;                              // in this round
  Scalars totals_;
  bool pausing_ = false;
  Wish heard_;
  std::vector<float> clamp_;
  std::vector<float> factors_;         // of the optimizer, by parameter
  std::vector<double> numbers_after_;  // of the optimizer
};

}  // namespace stoker::sync
