#pragma once
// The frozen parts of a model at the beginning of its program: their own program, which gives the same bits for a row
// whatever rows come with it, and a worker's rows with what they give, computed once. Used by one thread.
#include <ATen/core/Tensor.h>

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
  Frozen(const FrozenSpec& spec, ByteView constants);

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

/// Rows of whole shards, each in content order: the kept columns as they are stored, and what the frozen parts give.
class FrozenRows {
 public:
  /// `frozen` and what `from` has outlive this.
  FrozenRows(const Frozen& frozen, const RowSource& from);

  /// Computes what is lacking of these shards. Throws Error(aborted) once stopped, and keeps what it has; Error(world)
  /// where memory or disk are exhausted.
  void complete(const std::vector<int>& shards, const std::stop_token& stop);
  const data::ColumnStore& store() const { return store_; }
  double seconds() const { return seconds_; }

 private:
  void add(int shard, std::span<const uint32_t> rows);

  const Frozen& frozen_;
  const RowSource from_;
  data::ColumnStore store_;
  int64_t block_rows_;
  double seconds_ = 0;
};

}  // namespace stoker::train
