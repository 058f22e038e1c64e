#pragma once
// The frozen parts of a model at the beginning of its program: their own program, which gives the same bits for a row
// whatever rows come with it, and a worker's rows with what they give, computed once. Used by one thread.
#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "data/store/column_store.h"
#include "gang/protocol.h"
#include "program/inference.h"
#include "train/feed.h"
#include "train/spec.h"

namespace stoker::train {

class Frozen {
 public:
  /// `constants` outlive this object. The calling thread's number of intra-op threads decides which kernels run.
  /// `micro_rows`: about as many rows come at once where nothing is kept. A chunk has hardly more, so that little of it
  /// is filled up; it decides bits, so it is the same for all workers of a fit.
  Frozen(const FrozenSpec& spec, ByteView constants, int64_t micro_rows);

  /// From tensors of all columns to those that the rest of the program reads: the columns that it keeps, and what the
  /// frozen parts give.
  std::vector<at::Tensor> rest(const std::vector<at::Tensor>& columns) const;
  /// What they give for tensors of all columns, of which the others may be undefined.
  std::vector<at::Tensor> values(const std::vector<at::Tensor>& columns) const;
  const FrozenSpec& spec() const { return spec_; }
  /// Of what they give, as columns of a store.
  std::vector<data::ColumnSpec> columns() const;
  /// Rows that run at once at best.
  int64_t chunk_rows() const;
  /// Adds what they make of canned rows to what a worker's arithmetic is known by.
  void add_to(gang::Fingerprint& fingerprint, int64_t rows) const;

 private:
  const FrozenSpec spec_;
  const program::Inference trunk_;
};

/// When what the frozen parts give is worth its place on disk.
struct Worth {
  double bytes_per_s = 250e6;   // that a worker reads from there
  double tried_seconds = 0.25;  // of computing, before it is judged
  bool read_beside = false;     // whether the rows that it is made of are read in each epoch too
};

/// Rows of whole shards, each in content order: the kept columns as they are stored, and what the frozen parts give.
class FrozenRows {
 public:
  /// `frozen` and what `from` has outlive this.
  FrozenRows(const Frozen& frozen, const RowSource& from, const Worth& worth = {});

  /// Computes what is lacking of these shards, those whose rows are others now anew. Throws Error(aborted) soon after
  /// it is stopped, and keeps what it has; Error(world) where memory or disk do not suffice, before anything is
  /// computed, or where rows on disk would be read back more slowly than computed.
  void complete(const std::vector<int>& shards, const std::stop_token& stop);
  const data::ColumnStore& store() const { return store_; }
  double seconds() const { return seconds_; }

 private:
  int64_t lacking(const std::vector<int>& shards) const;
  void forget_others(int shard);
  void add(int shard, std::span<const uint32_t> rows, const std::stop_token& stop);
  void add_chunk(int shard, const data::RowsAt& rows, const std::vector<at::Tensor>& columns);
  void judge() const;

  const Frozen& frozen_;
  const RowSource from_;
  const Worth worth_;
  data::ColumnStore store_;
  std::map<int, Hash128> made_of_;  // digests of the borrowed shards' rows
  bool goes_to_disk_ = false;
  bool judged_ = false;
  int64_t computed_rows_ = 0;
  double computing_ = 0;  // seconds
  double seconds_ = 0;
};

}  // namespace stoker::train
