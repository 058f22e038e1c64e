#include "data/column_store.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <string_view>

#include "base/error.h"
#include "data/arrow_reader.h"
#include "data/content_order.h"
#include "data/row_memory.h"

namespace stoker::data {
namespace {

constexpr char kShardColumn[] = "__shard";
constexpr int64_t kMaxRows = std::numeric_limits<uint32_t>::max();
constexpr size_t kBlockBytes = 128 << 10;  // read, stored and hashed while in cache

int find_child(const ArrowSchema& schema, const std::string& name) {
  for (int64_t i = 0; i < schema.n_children; ++i) {
    const char* child = schema.children[i]->name;
    if (child != nullptr && name == child) return static_cast<int>(i);
  }
  return -1;
}

std::string child_names(const ArrowSchema& schema) {
  std::string names;
  for (int64_t i = 0; i < schema.n_children; ++i) {
    const char* child = schema.children[i]->name;
    names += cat(i ? ", '" : "'", child ? child : "", "'");
  }
  return names;
}

template <size_t kSize>
void gather_fixed(const std::byte* from, size_t stride, const uint32_t* rows, int64_t count, std::byte* to) {
  for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * kSize, from + rows[i] * stride, kSize);
}

/// Asks for a row some rows ahead; the hardware follows by itself after the first lines.
void gather_any(const std::byte* from, size_t stride, const uint32_t* rows, int64_t count, std::byte* to, size_t size) {
  constexpr int64_t kAhead = 8;
  for (int64_t i = 0; i < count; ++i) {
    if (i + kAhead < count) {
      const std::byte* ahead = from + rows[i + kAhead] * stride;
      for (size_t line = 0; line < std::min<size_t>(size, 256); line += 64) __builtin_prefetch(ahead + line);
    }
    std::memcpy(to + i * size, from + rows[i] * stride, size);
  }
}

}  // namespace

struct ColumnStore::Impl {
  std::vector<ColumnSpec> columns;
  std::vector<int> shards;
  int partition;
  ColumnSpec shard_spec;
  std::vector<size_t> offsets;  // of each column in a row
  size_t stride = 0;
  RowMemory memory;
  int64_t rows = 0;
  std::vector<Hash128> hashes;     // of each row, until sealed
  std::vector<uint16_t> shard_of;  // index into shards of each row, until sealed; empty where there is one shard
  bool sealed = false;
  std::vector<std::vector<uint32_t>> orders;  // one per shard
  std::vector<ShardRows> shard_rows;

  void check_batch(const ArrowArray& batch, const ArrowSchema& schema) const;
  ArrowReader reader(const ColumnSpec& spec, const ArrowArray& batch, const ArrowSchema& schema) const;
  void read_shards(const ArrowArray& batch, const ArrowSchema& schema);
  uint16_t shard_index(int shard, const ArrowReader& reader, int64_t row) const;
  void store(std::vector<ArrowReader>& readers, int64_t count);
  size_t index_of(int shard) const;
};

ColumnStore::ColumnStore(std::vector<ColumnSpec> columns, std::vector<int> shards, int partition)
    : impl_(std::make_unique<Impl>()) {
  STOKER_CHECK(!columns.empty());
  STOKER_CHECK(shards.size() < 65536 && std::is_sorted(shards.begin(), shards.end()));
  impl_->columns = std::move(columns);
  impl_->shards = std::move(shards);
  impl_->partition = partition;
  impl_->shard_spec.name = impl_->shard_spec.shown = kShardColumn;
  impl_->shard_spec.dtype = DType::i32;
  for (const auto& spec : impl_->columns) {
    STOKER_CHECK(spec.elements() > 0);
    impl_->offsets.push_back(impl_->stride);
    impl_->stride += spec.row_bytes();
  }
}

ColumnStore::~ColumnStore() = default;

void ColumnStore::append(const ArrowArray& batch, const ArrowSchema& schema) {
  Impl& s = *impl_;
  STOKER_CHECK(!s.sealed);
  s.check_batch(batch, schema);
  s.hashes.resize(s.rows + batch.length);
  s.read_shards(batch, schema);
  std::vector<ArrowReader> readers;
  for (const auto& spec : s.columns) readers.push_back(s.reader(spec, batch, schema));
  s.memory.reserve((s.rows + batch.length) * s.stride);
  s.store(readers, batch.length);
  s.rows += batch.length;
}

void ColumnStore::Impl::check_batch(const ArrowArray& batch, const ArrowSchema& schema) const {
  if (std::string_view(schema.format) != "+s") fail_bug("not a record batch: Arrow format '", schema.format, "'");
  if (batch.null_count != 0 && batch.buffers[0] != nullptr) fail_bug("a record batch has no null rows of its own");
  if (batch.length > kMaxRows - rows) {
    fail_user("partition ", partition, " has more than ", kMaxRows, " rows; use more workers");
  }
  if (batch.length > 0 && shards.empty()) fail_bug("partition ", partition, " has rows, but its worker owns no shard");
}

ArrowReader ColumnStore::Impl::reader(const ColumnSpec& spec, const ArrowArray& batch,
                                      const ArrowSchema& schema) const {
  const int child = find_child(schema, spec.name);
  if (child < 0) {
    fail_user("column '", spec.shown, "' (sent as '", spec.name, "') is missing in the rows of partition ", partition,
              ", which have ", child_names(schema));
  }
  return ArrowReader(spec, *schema.children[child], *batch.children[child], batch.offset, batch.length,
                     {partition, rows});
}

void ColumnStore::Impl::read_shards(const ArrowArray& batch, const ArrowSchema& schema) {
  if (shards.size() < 2 && find_child(schema, kShardColumn) < 0) return;
  ArrowReader column = reader(shard_spec, batch, schema);
  std::vector<int32_t> numbers(batch.length);
  column.read(0, batch.length, reinterpret_cast<std::byte*>(numbers.data()), sizeof(int32_t));
  shard_of.resize(rows);
  for (int64_t i = 0; i < batch.length; ++i) shard_of.push_back(shard_index(numbers[i], column, i));
}

uint16_t ColumnStore::Impl::shard_index(int shard, const ArrowReader& reader, int64_t row) const {
  const auto at = std::lower_bound(shards.begin(), shards.end(), shard);
  if (at == shards.end() || *at != shard) {
    fail_bug("partition ", partition, ", row ", rows + row, ": shard ", shard, " came to the worker of shards ",
             shards.front(), " to ", shards.back());
  }
  return static_cast<uint16_t>(at - shards.begin());
}

void ColumnStore::Impl::store(std::vector<ArrowReader>& readers, int64_t count) {
  const int64_t block = std::max<int64_t>(1, kBlockBytes / stride);
  for (int64_t begin = 0; begin < count; begin += block) {
    const int64_t n = std::min(block, count - begin);
    std::byte* out = memory.data() + (rows + begin) * stride;
    for (size_t c = 0; c < readers.size(); ++c) readers[c].read(begin, n, out + offsets[c], stride);
    for (int64_t i = 0; i < n; ++i) hashes[rows + begin + i] = hash128({out + i * stride, stride});
  }
}

void ColumnStore::seal() {
  Impl& s = *impl_;
  STOKER_CHECK(!s.sealed);
  s.orders.resize(s.shards.size());
  if (s.shards.size() == 1) {
    s.orders[0].resize(s.rows);
    std::iota(s.orders[0].begin(), s.orders[0].end(), 0u);
  } else {
    for (int64_t row = 0; row < s.rows; ++row) s.orders[s.shard_of[row]].push_back(static_cast<uint32_t>(row));
  }
  for (size_t i = 0; i < s.shards.size(); ++i) {
    ShardRows shard{s.shards[i], static_cast<int64_t>(s.orders[i].size()), {}};
    for (const uint32_t row : s.orders[i]) shard.digest += s.hashes[row];
    s.shard_rows.push_back(shard);
    sort_by_content(s.orders[i], s.hashes, s.memory.data(), s.stride);
  }
  s.memory.trim(s.rows * s.stride);
  s.hashes = {};
  s.shard_of = {};
  s.sealed = true;
}

int64_t ColumnStore::rows() const { return impl_->rows; }
size_t ColumnStore::bytes() const { return impl_->rows * impl_->stride; }
const std::vector<ColumnSpec>& ColumnStore::columns() const { return impl_->columns; }

std::vector<ShardRows> ColumnStore::shard_rows() const {
  STOKER_CHECK(impl_->sealed);
  return impl_->shard_rows;
}

size_t ColumnStore::Impl::index_of(int shard) const {
  const auto at = std::lower_bound(shards.begin(), shards.end(), shard);
  STOKER_CHECK(sealed && at != shards.end() && *at == shard);
  return at - shards.begin();
}

const std::vector<uint32_t>& ColumnStore::order(int shard) const { return impl_->orders[impl_->index_of(shard)]; }

void ColumnStore::gather(int column, const uint32_t* rows, int64_t count, void* out) const {
  const Impl& s = *impl_;
  const size_t size = s.columns[column].row_bytes();
  const std::byte* from = s.memory.data() + s.offsets[column];
  auto* to = static_cast<std::byte*>(out);
  if (size == 4) return gather_fixed<4>(from, s.stride, rows, count, to);
  if (size == 8) return gather_fixed<8>(from, s.stride, rows, count, to);
  gather_any(from, s.stride, rows, count, to, size);
}

}  // namespace stoker::data
