#pragma once
// Gradients that shards tell in messages which do not add up to shorter ones: each goes to all hosts as it is, and each
// rank adds up what they say for its part of the arena, in the order of shards. Float buffers are added up whole. What
// a message is, is the heirs': TopK, Threshold.
#include "sync/feedback_steps.h"

namespace stoker::sync {

class MessageSteps : public FeedbackSteps {
 protected:
  /// `room`: bytes of the longest message; `varies`: others may be shorter.
  MessageSteps(collective::Group& group, const optim::Arena& arena, const optim::Optimizer& optimizer, HostState& state,
               const CommitOptions& options, size_t room, bool varies);

  /// Writes a shard's message of what it has kept, see kept(), and takes out of that what it tells. Gives its bytes.
  virtual size_t write(int shard, double denominator, std::span<std::byte> message) = 0;
  /// Adds what a message says of a part of the arena, to a pointer to the arena's base.
  virtual void add(ByteView message, optim::Extent part, float* sum) = 0;

  void begin_messages(const collective::ShardSet& present) override;
  void tell(int shard, float share, double denominator) override;
  double meet() override;
  const float* sum_of(optim::Extent range) override;

 private:
  std::span<std::byte> room(int shard) const { return messages_.subspan(static_cast<size_t>(shard) * room_, room_); }
  size_t length(int shard) const;
  void send_messages();

  const std::vector<int> owners_;  // by shard
  const size_t room_;
  const bool varies_;
  const std::span<std::byte> messages_;  // of all shards, of the host
  collective::WholeSum rest_;            // float buffers; the denominator; where they vary, the messages' lengths
  const float* rest_sum_ = nullptr;
  std::vector<double> totals_;
};

}  // namespace stoker::sync
