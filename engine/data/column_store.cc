#include "data/column_store.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <string_view>

#include "base/error.h"
#include "base/fault.h"
#include "base/pulse.h"
#include "data/arrow_reader.h"
#include "data/content_order.h"
#include "data/row_memory.h"
#include "data/row_reader.h"
#include "data/widen.h"

namespace stoker::data {
namespace {

constexpr char kShardColumn[] = "__shard";
constexpr char kRowCure[] = "; onBadRow='skip' leaves such rows out";
constexpr int64_t kMaxRows = std::numeric_limits<uint32_t>::max();
constexpr size_t kBlockBytes = 128 << 10;  // read, stored and hashed while in cache

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

void gather_same(const std::byte* from, size_t stride, const uint32_t* rows, int64_t count, std::byte* to,
                 size_t size) {
  if (size == 4) return gather_fixed<4>(from, stride, rows, count, to);
  if (size == 8) return gather_fixed<8>(from, stride, rows, count, to);
  gather_any(from, stride, rows, count, to, size);
}

}  // namespace

struct ColumnStore::Impl {
  RowReader reader;
  std::vector<int> shards;
  int partition;
  bool skip;
  ColumnSpec shard_spec;
  RowMemory memory;
  int64_t rows = 0;                // stored
  int64_t seen = 0;                // in the batches, with those left out
  std::vector<Hash128> hashes;     // of each row, until sealed
  std::vector<uint16_t> shard_of;  // index into shards of each row, until sealed; empty where there is one shard
  std::map<std::string, int64_t> skipped;
  bool sealed = false;
  std::vector<std::vector<uint32_t>> orders;  // one per shard
  std::vector<ShardRows> shard_rows;

  Impl(std::vector<ColumnSpec> columns, std::vector<int> owned, int part, OnBadRow on_bad)
      : reader(std::move(columns)), shards(std::move(owned)), partition(part), skip(on_bad == OnBadRow::skip) {
    shard_spec.name = shard_spec.shown = kShardColumn;
    shard_spec.dtype = DType::i32;
  }
  void check(const ArrowArray& batch, const ArrowSchema& schema) const;
  std::vector<uint16_t> read_shards(const ArrowArray& batch, const ArrowSchema& schema) const;
  uint16_t shard_index(int shard, int64_t row) const;
  int64_t store(std::deque<FieldReader>& readers, const Faults& faults, int64_t count,
                const std::vector<uint16_t>& shard_numbers);
  int64_t drop_bad(const Faults& faults, int64_t begin, int64_t count, std::byte* out) const;
  size_t index_of(int shard) const;
};

ColumnStore::ColumnStore(std::vector<ColumnSpec> columns, std::vector<int> shards, int partition, OnBadRow on_bad_row) {
  STOKER_CHECK(!columns.empty());
  STOKER_CHECK(shards.size() < 65536 && std::is_sorted(shards.begin(), shards.end()));
  fault::point("ingest-begin");
  impl_ = std::make_unique<Impl>(std::move(columns), std::move(shards), partition, on_bad_row);
}

ColumnStore::~ColumnStore() = default;

void ColumnStore::append(const ArrowArray& batch, const ArrowSchema& schema) {
  Impl& s = *impl_;
  STOKER_CHECK(!s.sealed);
  s.check(batch, schema);
  const auto shard_numbers = s.read_shards(batch, schema);
  Faults faults({s.partition, s.seen, kRowCure}, batch.length, s.skip);
  auto readers = s.reader.open(batch, schema, faults);
  s.hashes.resize(s.rows + batch.length);
  fault::point("ingest");
  s.memory.reserve((s.rows + batch.length) * s.reader.stride());
  s.rows += s.store(readers, faults, batch.length, shard_numbers);
  s.hashes.resize(s.rows);
  s.seen += batch.length;
  for (const auto& [reason, count] : faults.reasons()) s.skipped[reason] += count;
}

void ColumnStore::Impl::check(const ArrowArray& batch, const ArrowSchema& schema) const {
  check_batch(batch, schema);
  if (batch.length > kMaxRows - rows) {
    fail_user("partition ", partition, " has more than ", kMaxRows, " rows; use more workers");
  }
  if (batch.length > 0 && shards.empty()) fail_bug("partition ", partition, " has rows, but its worker owns no shard");
}

/// Index into shards of each row of the batch; empty where there is one shard.
std::vector<uint16_t> ColumnStore::Impl::read_shards(const ArrowArray& batch, const ArrowSchema& schema) const {
  if (shards.size() < 2 && find_child(schema, kShardColumn) < 0) return {};
  const int child = child_of(schema, kShardColumn, kShardColumn, partition);
  ArrowReader column(shard_spec, *schema.children[child], *batch.children[child], batch.offset, batch.length,
                     {partition, seen});
  std::vector<int32_t> numbers(batch.length);
  column.read(0, batch.length, reinterpret_cast<std::byte*>(numbers.data()), sizeof(int32_t));
  std::vector<uint16_t> indices;
  for (const int32_t number : numbers) indices.push_back(shard_index(number, static_cast<int64_t>(indices.size())));
  return indices;
}

uint16_t ColumnStore::Impl::shard_index(int shard, int64_t row) const {
  const auto at = std::lower_bound(shards.begin(), shards.end(), shard);
  if (at == shards.end() || *at != shard) {
    fail_bug("partition ", partition, ", row ", seen + row, ": shard ", shard, " came to the worker of shards ",
             shards.front(), " to ", shards.back());
  }
  return static_cast<uint16_t>(at - shards.begin());
}

/// Rows that were stored: those without a fault.
int64_t ColumnStore::Impl::store(std::deque<FieldReader>& readers, const Faults& faults, int64_t count,
                                 const std::vector<uint16_t>& shard_numbers) {
  const size_t stride = reader.stride();
  const int64_t block = std::max<int64_t>(1, kBlockBytes / stride);
  int64_t next = rows;
  for (int64_t begin = 0; begin < count; begin += block) {
    const int64_t n = std::min(block, count - begin);
    std::byte* out = memory.data() + next * stride;
    reader.read(readers, begin, n, out);
    const int64_t kept = faults.any() ? drop_bad(faults, begin, n, out) : n;
    for (int64_t i = 0; i < kept; ++i) hashes[next + i] = hash128({out + i * stride, stride});
    next += kept;
    pulse::beat();
  }
  shard_of.resize(shard_numbers.empty() ? 0 : rows);
  for (size_t i = 0; i < shard_numbers.size(); ++i)
    if (!faults.bad(static_cast<int64_t>(i))) shard_of.push_back(shard_numbers[i]);
  return next - rows;
}

/// Closes the gaps that faulty rows leave; rows that stay.
int64_t ColumnStore::Impl::drop_bad(const Faults& faults, int64_t begin, int64_t count, std::byte* out) const {
  int64_t kept = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (faults.bad(begin + i)) continue;
    if (kept != i) std::memcpy(out + kept * reader.stride(), out + i * reader.stride(), reader.stride());
    ++kept;
  }
  return kept;
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
    sort_by_content(s.orders[i], s.hashes, s.memory.data(), s.reader.stride());
  }
  s.memory.trim(s.rows * s.reader.stride());
  s.hashes = {};
  s.shard_of = {};
  s.sealed = true;
  fault::point("ingest-end");
}

int64_t ColumnStore::rows() const { return impl_->rows; }
size_t ColumnStore::bytes() const { return impl_->rows * impl_->reader.stride(); }
const std::vector<ColumnSpec>& ColumnStore::columns() const { return impl_->reader.columns(); }
const std::map<std::string, int64_t>& ColumnStore::skipped() const { return impl_->skipped; }

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

void ColumnStore::gather(int column, const uint32_t* rows, int64_t count, void* out, const Draws* draws) const {
  const RowReader& reader = impl_->reader;
  const ColumnSpec& spec = reader.columns()[column];
  auto* to = static_cast<std::byte*>(out);
  for (const Slot* slot : reader.slots(column)) {
    const std::byte* from = impl_->memory.data() + slot->offset;
    if (slot->field.values() == spec.elements() && is_same(slot->field, spec.dtype)) {
      gather_same(from, reader.stride(), rows, count, to, spec.row_bytes());
    } else {
      widen(slot->field, from, reader.stride(), rows, count, spec.dtype, to + slot->at * size_of(spec.dtype),
            spec.row_bytes(), draws);
    }
  }
}

}  // namespace stoker::data
