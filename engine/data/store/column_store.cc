#include "data/store/column_store.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string_view>

#include "base/error.h"
#include "base/fault.h"
#include "base/pulse.h"
#include "data/arrow/reader.h"
#include "data/read/row_reader.h"
#include "data/read/widen.h"
#include "data/store/content_order.h"
#include "data/store/row_hashes.h"
#include "data/store/stored_rows.h"

namespace stoker::data {
namespace {

constexpr char kShardColumn[] = "__shard";
constexpr char kRowCure[] = "; onBadRow='skip' leaves such rows out";
constexpr int64_t kMaxRows = std::numeric_limits<uint32_t>::max();
constexpr size_t kBlockBytes = 128 << 10;  // read, stored and hashed while in cache
constexpr size_t kIndexBytesPerRow = 8;    // orders, here and in the feed
constexpr size_t kLeastKeyBytes = 1 << 20;

uint32_t number(const uint32_t* rows, int64_t i) { return rows ? rows[i] : static_cast<uint32_t>(i); }

template <size_t kSize>
void gather_fixed(const std::byte* from, size_t stride, const uint32_t* rows, int64_t count, std::byte* to) {
  for (int64_t i = 0; i < count; ++i) std::memcpy(to + i * kSize, from + number(rows, i) * stride, kSize);
}

/// Asks for a row some rows ahead; the hardware follows by itself after the first lines.
void gather_any(const std::byte* from, size_t stride, const uint32_t* rows, int64_t count, std::byte* to, size_t size) {
  constexpr int64_t kAhead = 8;
  for (int64_t i = 0; i < count; ++i) {
    if (i + kAhead < count) {
      const std::byte* ahead = from + number(rows, i + kAhead) * stride;
      for (size_t line = 0; line < std::min<size_t>(size, 256); line += 64) __builtin_prefetch(ahead + line);
    }
    std::memcpy(to + i * size, from + number(rows, i) * stride, size);
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
  StoreOptions options;
  StoredRows rows;
  RowHashes hashes;                // of each row, until sealed
  int64_t seen = 0;                // in the batches, with those left out
  std::vector<uint16_t> shard_of;  // index into shards of each row, until sealed; empty where there is one shard
  std::map<std::string, int64_t> skipped;
  bool sealed = false;
  std::vector<std::vector<uint32_t>> orders;  // one per shard
  std::vector<int> kept;                      // columns of the store that this one was made from
  std::vector<ShardRows> shard_rows;

  Impl(std::vector<ColumnSpec> columns, std::vector<int> owned, int part, OnBadRow on_bad, StoreOptions budget)
      : reader(std::move(columns)),
        shards(std::move(owned)),
        partition(part),
        skip(on_bad == OnBadRow::skip),
        options(std::move(budget)),
        rows(reader.stride(), options) {
    shard_spec.name = shard_spec.shown = kShardColumn;
    shard_spec.dtype = DType::i32;
  }
  void check(const ArrowArray& batch, const ArrowSchema& schema) const;
  std::vector<uint16_t> read_shards(const ArrowArray& batch, const ArrowSchema& schema) const;
  uint16_t shard_index(int shard, int64_t row) const;
  void store(std::deque<FieldReader>& readers, const Faults& faults, int64_t count,
             const std::vector<uint16_t>& shard_numbers);
  void store_block(const std::byte* block, int64_t count);
  std::vector<int64_t> count_shards();
  int64_t drop_bad(const Faults& faults, int64_t begin, int64_t count, std::byte* out) const;
  size_t index_of(int shard) const;
  struct Place {
    size_t offset = 0;
    size_t bytes = 0;
  };
  Place place_of(int column) const;
};

/// Of a column's fields, which lie side by side, in a stored row.
ColumnStore::Impl::Place ColumnStore::Impl::place_of(int column) const {
  const auto& slots = reader.slots(column);
  Place place{slots.front()->offset, 0};
  for (const Slot* slot : slots) place.bytes += slot->field.row_bytes();
  return place;
}

ColumnStore::ColumnStore(std::vector<ColumnSpec> columns, std::vector<int> shards, int partition, OnBadRow on_bad_row,
                         StoreOptions options) {
  STOKER_CHECK(!columns.empty());
  STOKER_CHECK(shards.size() < 65536 && std::is_sorted(shards.begin(), shards.end()));
  fault::point("ingest-begin");
  impl_ = std::make_unique<Impl>(std::move(columns), std::move(shards), partition, on_bad_row, std::move(options));
}

ColumnStore::ColumnStore(const ColumnStore& like, const std::vector<int>& kept, std::vector<ColumnSpec> more,
                         StoreOptions options) {
  std::vector<ColumnSpec> columns;
  for (const int column : kept) columns.push_back(like.columns()[column]);
  columns.insert(columns.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  impl_ = std::make_unique<Impl>(std::move(columns), std::vector<int>(), like.impl_->partition, OnBadRow::error,
                                 std::move(options));
  impl_->kept = kept;
  impl_->sealed = true;
}

ColumnStore::~ColumnStore() = default;

void ColumnStore::expect(int shard) {
  Impl& s = *impl_;
  const auto at = std::ranges::lower_bound(s.shards, shard) - s.shards.begin();
  if (has(shard)) return;
  s.shards.insert(s.shards.begin() + at, shard);
  s.orders.emplace(s.orders.begin() + at);
}

void ColumnStore::forget(int shard) { impl_->orders[impl_->index_of(shard)].clear(); }

bool ColumnStore::reserve(int64_t rows) {
  const int64_t all = impl_->rows.count() + rows;
  return impl_->rows.reserve(all, all * kIndexBytesPerRow);
}

void ColumnStore::extend(int shard, const ColumnStore& like, const RowsAt& rows,
                         const std::vector<const std::byte*>& more) {
  Impl& s = *impl_;
  auto& order = s.orders[s.index_of(shard)];
  if (rows.count > kMaxRows - s.rows.count()) fail_world("there are more than ", kMaxRows, " rows");
  std::byte* out = s.rows.room(rows.count);
  for (size_t c = 0; c < columns().size(); ++c) {
    const bool is_kept = c < s.kept.size();
    const auto to = s.place_of(static_cast<int>(c));
    const auto from = is_kept ? like.impl_->place_of(s.kept[c]) : Impl::Place{0, to.bytes};
    const std::byte* base = is_kept ? rows.base + from.offset : more[c - s.kept.size()];
    for (int64_t i = 0; i < rows.count; ++i)
      std::memcpy(out + i * stride() + to.offset,
                  base + (is_kept ? number(rows.rows, i) * like.stride() : i * to.bytes), to.bytes);
  }
  for (int64_t i = 0; i < rows.count; ++i) order.push_back(static_cast<uint32_t>(s.rows.count() + i));
  s.rows.keep(rows.count);
}

void ColumnStore::rest() { impl_->rows.finish(impl_->rows.count() * kIndexBytesPerRow); }

void ColumnStore::append(const ArrowArray& batch, const ArrowSchema& schema) {
  Impl& s = *impl_;
  STOKER_CHECK(!s.sealed);
  s.check(batch, schema);
  const auto shard_numbers = s.read_shards(batch, schema);
  Faults faults({s.partition, s.seen, kRowCure}, batch.length, s.skip);
  auto readers = s.reader.open(batch, schema, faults);
  fault::point("ingest");
  const int64_t before = s.rows.count();
  try {
    s.store(readers, faults, batch.length, shard_numbers);
  } catch (...) {
    s.rows.rewind(before);
    s.hashes.rewind(before);
    throw;
  }
  s.seen += batch.length;
  for (const auto& [reason, count] : faults.reasons()) s.skipped[reason] += count;
}

void ColumnStore::Impl::check(const ArrowArray& batch, const ArrowSchema& schema) const {
  check_batch(batch, schema, partition);
  if (batch.length > kMaxRows - rows.count()) {
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

/// Those without a fault.
void ColumnStore::Impl::store(std::deque<FieldReader>& readers, const Faults& faults, int64_t count,
                              const std::vector<uint16_t>& shard_numbers) {
  const int64_t block = std::max<int64_t>(1, kBlockBytes / reader.stride());
  for (int64_t begin = 0; begin < count; begin += block) {
    const int64_t n = std::min(block, count - begin);
    std::byte* out = rows.room(n);
    reader.read(readers, begin, n, out);
    store_block(out, faults.any() ? drop_bad(faults, begin, n, out) : n);
    pulse::beat();
  }
  for (size_t i = 0; i < shard_numbers.size(); ++i)
    if (!faults.bad(static_cast<int64_t>(i))) shard_of.push_back(shard_numbers[i]);
}

void ColumnStore::Impl::store_block(const std::byte* block, int64_t count) {
  std::vector<Hash128> found(count);
  for (int64_t i = 0; i < count; ++i) found[i] = hash128({block + i * reader.stride(), reader.stride()});
  if (rows.on_disk() && !hashes.on_disk()) hashes.move_to_disk(options.spill);
  hashes.append(found);
  rows.keep(count);
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

/// Counts and digests; how many rows each shard has.
std::vector<int64_t> ColumnStore::Impl::count_shards() {
  for (const int shard : shards) shard_rows.push_back({shard, 0, {}});
  hashes.each([&](int64_t first, std::span<const Hash128> found) {
    for (size_t i = 0; i < found.size(); ++i) {
      ShardRows& shard = shard_rows[shard_of.empty() ? 0 : shard_of[first + i]];
      ++shard.rows;
      shard.digest += found[i];
    }
  });
  std::vector<int64_t> counts;
  for (const auto& shard : shard_rows) counts.push_back(shard.rows);
  return counts;
}

void ColumnStore::seal() {
  Impl& s = *impl_;
  STOKER_CHECK(!s.sealed);
  const RowsToOrder to_order{s.hashes, s.shard_of, s.reader.stride(),
                             [&](std::span<const uint32_t> rows, std::byte* out) {
                               Course course;
                               s.rows.copy(rows.data(), static_cast<int64_t>(rows.size()), out, course);
                             }};
  s.orders = content_orders(to_order, s.count_shards(), std::max(s.options.window_bytes(), kLeastKeyBytes));
  s.rows.finish(s.rows.count() * kIndexBytesPerRow);
  s.hashes = {};
  s.shard_of = {};
  s.sealed = true;
  fault::point("ingest-end");
}

int64_t ColumnStore::rows() const { return impl_->rows.count(); }
size_t ColumnStore::memory_left() const {
  constexpr size_t kIndexBytesPerRow = 16;  // orders here and in who reads
  const size_t taken = bytes() + static_cast<size_t>(rows()) * kIndexBytesPerRow;
  return options().memory - std::min(options().memory, taken);
}

size_t ColumnStore::bytes() const { return rows() * stride(); }
size_t ColumnStore::stride() const { return impl_->reader.stride(); }
uint64_t ColumnStore::disk_bytes() const { return impl_->rows.disk_bytes(); }
const StoreOptions& ColumnStore::options() const { return impl_->options; }
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

bool ColumnStore::has(int shard) const { return std::ranges::binary_search(impl_->shards, shard); }

bool ColumnStore::on_disk() const { return impl_->rows.on_disk(); }

RowsAt ColumnStore::at(const uint32_t* rows, int64_t count) const {
  STOKER_CHECK(!on_disk());
  return {impl_->rows.data(), rows, count};
}

void ColumnStore::copy(const uint32_t* rows, int64_t count, std::byte* out, Course& course) const {
  impl_->rows.copy(rows, count, out, course);
}

void ColumnStore::each(const std::function<void(int64_t, std::span<const std::byte>)>& f, Course& course) const {
  impl_->rows.each(f, course);
}

void ColumnStore::gather(int column, const RowsAt& from, void* out, const Draws* draws) const {
  const RowReader& reader = impl_->reader;
  const ColumnSpec& spec = reader.columns()[column];
  auto* to = static_cast<std::byte*>(out);
  for (const Slot* slot : reader.slots(column)) {
    const std::byte* base = from.base + slot->offset;
    if (slot->field.values() == spec.elements() && is_same(slot->field, spec.dtype)) {
      gather_same(base, reader.stride(), from.rows, from.count, to, spec.row_bytes());
    } else {
      widen(slot->field, base, reader.stride(), from.rows, from.count, spec.dtype, to + slot->at * size_of(spec.dtype),
            spec.row_bytes(), draws);
    }
  }
}

void ColumnStore::gather(int column, const uint32_t* rows, int64_t count, void* out, const Draws* draws) const {
  if (!on_disk()) return gather(column, at(rows, count), out, draws);
  std::vector<std::byte> copied(count * stride());
  Course course;
  copy(rows, count, copied.data(), course);
  gather(column, {copied.data(), nullptr, count}, out, draws);
}

}  // namespace stoker::data
