#pragma once
// Rows of a rank's shards as its strategy asks for them: of shards that go in step with the epoch, or of shards each of
// which goes through its rows pass by pass, as replicas do that push as they arrive. One object per rank and
// generation, used by one thread, but for interrupt().
#include <map>
#include <memory>

#include "train/feed.h"
#include "train/trainer.h"
#include "train/windows.h"

namespace stoker::train {

class Supply {
 public:
  virtual ~Supply() = default;
  /// As Trainer::step() wants them; no longer than this object lives.
  virtual Trainer::Batches batches() = 0;
  /// `draws`: the epoch whose random streams it has.
  virtual void begin_epoch(uint64_t draws) = 0;
  /// While peers may be waited for: the first rows of a step of the epoch.
  virtual void prefetch(int64_t step) = 0;
  /// See Feed.
  virtual void interrupt() = 0;
  /// Null where shards go in step.
  virtual const Windows* windows() const { return nullptr; }
};

class InStep final : public Supply {
 public:
  /// Of a Feed, with the plan that it goes by.
  InStep(std::unique_ptr<Feed> feed, const data::Plan& plan) : feed_(std::move(feed)), plan_(plan) {}
  Trainer::Batches batches() override;
  void begin_epoch(uint64_t draws) override { feed_->begin_epoch(draws); }
  void prefetch(int64_t step) override { feed_->prefetch(step); }
  void interrupt() override { feed_->interrupt(); }

 private:
  const std::unique_ptr<Feed> feed_;
  const data::Plan& plan_;
};

/// Steps count on from pass to pass, and each shard's passes come one after the other.
class PassByPass final : public Supply {
 public:
  /// `make`: a Feed of one shard.
  PassByPass(const TrainSpec& spec, const data::Plan& plan, const std::vector<int>& owned,
             const std::function<std::unique_ptr<Feed>(int shard)>& make);
  Trainer::Batches batches() override;
  void begin_epoch(uint64_t) override {}
  void prefetch(int64_t) override {}
  void interrupt() override;
  const Windows* windows() const override { return &windows_; }

 private:
  std::vector<at::Tensor> gather(int64_t step, int shard, int64_t part);

  struct OfShard {
    std::unique_ptr<Feed> feed;
    int64_t pass = -1;
  };
  const TrainSpec& spec_;
  const data::Plan& plan_;
  const Windows windows_;
  std::map<int, OfShard> feeds_;
};

}  // namespace stoker::train
