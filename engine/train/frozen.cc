#include "train/frozen.h"

#include <algorithm>

#include "base/clock.h"
#include "base/hash.h"
#include "base/pulse.h"
#include "data/store/gather.h"
#include "program/plan.h"
#include "train/fingerprint.h"

namespace stoker::train {
namespace {

constexpr size_t kBlockBytes = 8 << 20;  // of tensors that are run together
constexpr int64_t kMostRows = 4096;

/// What other rows leave of the memory that rows may take, or a part of it.
data::StoreOptions room_beside(const data::ColumnStore& rows) {
  auto options = rows.options();
  const size_t part = options.memory / 4;
  if (rows.on_disk())
    options.memory = part;
  else
    options.memory = std::max(options.memory - std::min(options.memory, rows.bytes()), part);
  return options;
}

int64_t rows_of_block(const Frozen& frozen, const data::ColumnStore& store) {
  size_t bytes = 1;
  for (const int column : frozen.spec().inputs) bytes += store.columns()[column].row_bytes();
  const int64_t chunk = std::max<int64_t>(frozen.chunk_rows(), 1);
  return std::max<int64_t>(std::min<int64_t>(kBlockBytes / bytes, kMostRows) / chunk, 1) * chunk;
}

}  // namespace

Frozen::Frozen(const FrozenSpec& spec, ByteView constants) : spec_(spec), trunk_(spec.program, constants) {}

std::vector<at::Tensor> Frozen::values(const std::vector<at::Tensor>& columns) const try {
  std::vector<at::Tensor> inputs;
  for (const int column : spec_.inputs) inputs.push_back(columns.at(column));
  return trunk_.run(inputs);
} catch (...) {
  program::rethrow_as_error("running the frozen parts");
}

/// Copies, as what the frozen parts give may be no memory of its own, and gradients may run through it.
std::vector<at::Tensor> Frozen::rest(const std::vector<at::Tensor>& columns) const {
  std::vector<at::Tensor> rest;
  for (const int column : spec_.kept) rest.push_back(columns.at(column));
  for (const auto& value : values(columns)) rest.push_back(value.clone(at::MemoryFormat::Contiguous));
  return rest;
}

std::vector<data::ColumnSpec> Frozen::columns() const {
  std::vector<data::ColumnSpec> columns;
  for (const auto& shape : spec_.shapes) {
    auto& column = columns.emplace_back();
    column.name = column.shown = cat("frozen.", columns.size());
    column.shape = shape;
  }
  return columns;
}

int64_t Frozen::chunk_rows() const { return trunk_.chunk_rows(); }

void Frozen::add_to(gang::Fingerprint& fingerprint, int64_t rows) const try {
  const int64_t few = trunk_.chunk_rows() > 0 ? std::min(rows, trunk_.chunk_rows()) : rows;
  uint64_t number = 0;
  for (const auto& value : trunk_.run(canned_inputs(trunk_.program(), few))) {
    const auto dense = value.contiguous();
    fingerprint.digest += hash128({static_cast<const std::byte*>(dense.const_data_ptr()), dense.nbytes()}, ++number);
  }
} catch (...) {
  program::rethrow_as_error("running the frozen parts on canned rows");
}

FrozenRows::FrozenRows(const Frozen& frozen, const RowSource& from)
    : frozen_(frozen),
      from_(from),
      store_(from.own, frozen.spec().kept, frozen.columns(), room_beside(from.own)),
      block_rows_(rows_of_block(frozen, from.own)) {}

void FrozenRows::complete(const std::vector<int>& shards, const std::stop_token& stop) {
  const Stopwatch watch;
  for (const int shard : shards) {
    const auto order = from_.order(shard);
    store_.expect(shard);
    for (size_t done = store_.order(shard).size(); done < order.size(); done = store_.order(shard).size()) {
      if (stop.stop_requested()) throw Error(ErrorKind::aborted, "interrupted");
      add(shard, order.subspan(done, std::min<size_t>(block_rows_, order.size() - done)));
      pulse::beat();
    }
  }
  store_.rest();
  seconds_ += watch.elapsed();
}

void FrozenRows::add(int shard, std::span<const uint32_t> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  std::vector<std::byte> copied;
  data::RowsAt at;
  if (from_.own.has(shard) && from_.own.on_disk()) {
    copied.resize(count * from_.own.stride());
    data::Course course;
    from_.own.copy(rows.data(), count, copied.data(), course);
    at = {copied.data(), nullptr, count};
  } else {
    at = from_.at(shard, rows);
  }
  std::vector<at::Tensor> columns(from_.own.columns().size());
  for (const int column : frozen_.spec().inputs) columns[column] = data::gather_batch(from_.own, column, at);
  std::vector<at::Tensor> values;
  for (const auto& value : frozen_.values(columns)) values.push_back(value.contiguous());
  std::vector<const std::byte*> told;
  for (const auto& value : values) told.push_back(static_cast<const std::byte*>(value.const_data_ptr()));
  store_.extend(shard, from_.own, at, told);
}

}  // namespace stoker::train
