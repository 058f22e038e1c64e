#include "train/frozen.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/clock.h"
#include "base/fault.h"
#include "base/hash.h"
#include "base/pulse.h"
#include "data/store/gather.h"
#include "program/plan.h"
#include "train/fingerprint.h"

namespace stoker::train {
namespace {

constexpr size_t kBlockBytes = 8 << 20;   // of tensors that are gathered together
constexpr size_t kLeastMemory = 4 << 20;  // of what is beside other rows
constexpr int64_t kMostRows = 4096;

/// What other rows leave of the memory that rows may take; where that is next to nothing, a little more than that.
data::StoreOptions room_beside(const data::ColumnStore& rows, bool read_beside) {
  auto options = rows.options();
  const size_t windows = read_beside ? 0 : 2 * options.window_bytes();  // nobody reads ahead there
  options.memory = std::max(rows.on_disk() ? windows : rows.memory_left(), std::min(options.memory / 4, kLeastMemory));
  return options;
}

int64_t fitting(size_t row_bytes) {
  return std::clamp<int64_t>(static_cast<int64_t>(kBlockBytes / std::max<size_t>(row_bytes, 1)), 1, kMostRows);
}

/// Whole chunks of what is gathered.
int64_t rows_of_block(const Frozen& frozen, const data::ColumnStore& from, int64_t chunk) {
  size_t bytes = from.on_disk() ? from.stride() : 0;
  for (const int column : frozen.spec().inputs) bytes += from.columns()[column].row_bytes();
  return std::max<int64_t>(fitting(bytes) / chunk, 1) * chunk;
}

/// That run at once and are stored at once.
int64_t rows_of_chunk(const Frozen& frozen, const data::ColumnStore& made) {
  return frozen.chunk_rows() > 0 ? frozen.chunk_rows() : fitting(made.stride());
}

data::RowsAt part_of(const data::RowsAt& rows, size_t stride, int64_t begin, int64_t count) {
  if (rows.rows) return {rows.base, rows.rows + begin, count};
  return {rows.base + begin * stride, nullptr, count};
}

int64_t most_rows(int64_t micro_rows) {
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(micro_rows, 1))));
}

}  // namespace

Frozen::Frozen(const FrozenSpec& spec, ByteView constants, int64_t micro_rows)
    : spec_(spec), trunk_(spec.program, constants, most_rows(micro_rows)) {}

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

FrozenRows::FrozenRows(const Frozen& frozen, const RowSource& from, const Worth& worth)
    : frozen_(frozen),
      from_(from),
      worth_(worth),
      store_(from.own, frozen.spec().kept, frozen.columns(), room_beside(from.own, worth.read_beside)) {}

void FrozenRows::complete(const std::vector<int>& shards, const std::stop_token& stop) {
  const Stopwatch watch;
  for (const int shard : shards) forget_others(shard);
  goes_to_disk_ = store_.reserve(lacking(shards));
  const int64_t block = rows_of_block(frozen_, from_.own, rows_of_chunk(frozen_, store_));
  for (const int shard : shards) {
    const auto order = from_.order(shard);
    for (size_t done = store_.order(shard).size(); done < order.size(); done = store_.order(shard).size())
      add(shard, order.subspan(done, std::min<size_t>(block, order.size() - done)), stop);
  }
  store_.rest();
  seconds_ += watch.elapsed();
}

/// A borrowed shard may come anew, with other rows.
void FrozenRows::forget_others(int shard) {
  store_.expect(shard);
  if (from_.own.has(shard)) return;
  const auto digest = from_.borrowed.digest(shard);
  const auto [made_of, fresh] = made_of_.try_emplace(shard, digest);
  if (!fresh && made_of->second != digest) store_.forget(shard);
  made_of->second = digest;
}

int64_t FrozenRows::lacking(const std::vector<int>& shards) const {
  int64_t rows = 0;
  for (const int shard : shards) rows += static_cast<int64_t>(from_.order(shard).size() - store_.order(shard).size());
  return rows;
}

void FrozenRows::add(int shard, std::span<const uint32_t> rows, const std::stop_token& stop) {
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
  const int64_t chunk = rows_of_chunk(frozen_, store_);
  for (int64_t begin = 0; begin < count; begin += chunk) {
    if (stop.stop_requested()) throw Error(ErrorKind::aborted, "interrupted");
    fault::point("frozen");
    const int64_t there = std::min(chunk, count - begin);
    auto part = columns;
    for (auto& column : part)
      if (column.defined()) column = column.narrow(0, begin, there);
    add_chunk(shard, part_of(at, from_.own.stride(), begin, there), part);
    pulse::beat();
  }
}

void FrozenRows::add_chunk(int shard, const data::RowsAt& rows, const std::vector<at::Tensor>& columns) {
  const Stopwatch watch;
  std::vector<at::Tensor> values;
  for (const auto& value : frozen_.values(columns)) values.push_back(value.contiguous());
  computing_ += watch.elapsed();
  computed_rows_ += rows.count;
  std::vector<const std::byte*> told;
  for (const auto& value : values) told.push_back(static_cast<const std::byte*>(value.const_data_ptr()));
  store_.extend(shard, from_.own, rows, told);
  if (goes_to_disk_ && !judged_ && computing_ >= worth_.tried_seconds) {
    judged_ = true;
    judge();
  }
}

void FrozenRows::judge() const {
  const double computed = computing_ / static_cast<double>(computed_rows_);
  const double read = static_cast<double>(store_.stride()) / worth_.bytes_per_s;
  if (read <= computed) return;
  fail_world("on disk a row would take ", store_.stride() >> 10, " KB, which are read back in about ",
             std::lround(read * 1e6), " us, and it is computed in ", std::lround(computed * 1e6), " us");
}

}  // namespace stoker::train
