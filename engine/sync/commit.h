#pragma once
// What strategies have in common: a commit's numbers over all shards (loss, pauses, wishes), evaluations, states that
// are kept as they are, and the flip. What becomes of the weights is the strategy's.
#include <map>
#include <memory>
#include <vector>

#include "sync/strategy.h"

namespace stoker::sync {

struct CommitOptions {
  int shards = 1;
  bool mean = true;              // the gradient is divided by the loss's total denominator
  double clip_norm = 0;          // 0: off. Norm over all gradients, as torch.nn.utils.clip_grad_norm_
  double clip_value = 0;         // 0: off. After clip_norm where both are on
  bool in_place = false;         // benches: over the old state, so that nobody may die
  std::vector<int> owners = {};  // by shard, the rank that owns it; empty: collective::even_owners()
  int numbers = 0;               // of a shard, that add_up() takes; 0: it is not called
  bool bf16 = false;             // each shard's gradient, and each sum of two, is rounded to bfloat16, which travels
  collective::Code code = {};    // of each shard's part of the arena: what is added up is what its code says. Shards do
                                 // not run together then
  int carried = 0;  // of the state's optimizer buffers the last ones, which are not the optimizer's: like the float
                    // buffers each shard gives its share of them
};

/// By shard, the rank that owns it; and a rank's shards, ascending.
std::vector<int> owners_of(const CommitOptions& options, const collective::Group& group);
std::vector<int> owned_shards(const CommitOptions& options, const collective::Group& group);

class Commit : public Strategy {
 public:
  void begin(const Round& round) override;
  collective::OwnFold own_fold() override { return sum_->own_fold(); }
  void put_all(const std::vector<int>& shards, const std::vector<Scalars>& scalars) override;
  void publish() override;
  Scalars exchange() override;
  bool pausing() const override { return pausing_; }
  Wish heard() const override { return heard_; }
  void keep(StepTimes& times) override;
  std::vector<double> add_up(const std::vector<bool>& present, bool pause,
                             const std::map<int, std::vector<double>>& numbers) override;
  void commit() override;

  /// Instead of run(): where the next owned shard's vector goes, of which all shards' are added up; then put().
  float* partial() { return sum_->next(); }
  void put(int shard, const Scalars& scalars);

 protected:
  /// `floats`: of each shard's vector, `coded`: of them, what its code, or bfloat16, is of.
  Commit(collective::Group& group, HostState& state, const CommitOptions& options, int64_t floats, int64_t coded = 0);

  int64_t step() const { return static_cast<int64_t>(next_ - 1); }
  int old_set() const { return HostState::set_of(next_ - 1); }
  int new_set() const { return options_.in_place ? old_set() : HostState::set_of(next_); }
  /// My part of the old state's floats, beside it.
  virtual void keep_floats() = 0;
  /// What weights and buffers a commit has made, in `times`; whether they are finite as far as this rank knows.
  bool made(bool finite, StepTimes& times);
  /// Of a chunk of this rank's part of the vector: the sums, as a pointer to the base of all.
  virtual const float* sum_of(optim::Extent range) { return sum_->sum({range.begin, range.end}); }
  /// Sums of a part of the vector, as they are. Gives whether they are finite.
  bool take_sums(optim::Extent range, float* to);
  void write_numbers(const double* numbers);

  collective::Group& group_;
  HostState& state_;
  const CommitOptions options_;
  const std::unique_ptr<collective::ShardSum> sum_;
  Round round_;
  uint64_t next_ = 0;  // the commit that this round makes
  Scalars totals_;

 private:
  Wish wish_of(int shard) const;
  void put_scalars(int shard, const Scalars& scalars);
  void write_counts(int64_t more);
  void stand(collective::Phase phase, StepTimes& times);

  std::unique_ptr<collective::ShardSum> numbers_;  // of add_up()
  bool made_ = false;                              // in this round
  bool pausing_ = false;
  Wish heard_;
};

}  // namespace stoker::sync
