#include "data/deal/deal.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/arrow/source_column.h"
#include "data/deal/spark_hash.h"
#include "data/read/row_reader.h"
#include "data/spec/faults.h"

namespace stoker::data {
namespace {

using Rows = std::vector<uint32_t>;

/// Offsets are what a file's bytes came to.
void check_positions(const SourceColumn& column, int64_t rows) {
  const int64_t end = column.positions();
  const auto at = [&](int64_t row) { return Range{column.begin(row), column.begin(row + 1)}; };
  bool there = true;
  for (int64_t row = 0; row < rows; ++row) there &= at(row).within(end);
  for (int64_t row = 0; !there; ++row) {
    if (!at(row).within(end))
      fail_user("column '", column.schema->name, "': row ", row, " of a batch ", kSpoilt, ": its values lie at ",
                at(row).text(), " of ", end);
  }
}

SourceColumn find(const ArrowArray& batch, const ArrowSchema& schema, const std::string& name) {
  const int i = find_child(schema, name);
  if (i < 0) fail_bug("the batch has no column '", name, "'");
  const SourceColumn column(*schema.children[i], *batch.children[i], batch.offset);
  if (column.is_list() || column.is_text()) check_positions(column, batch.length);
  return column;
}

constexpr int64_t kBlock = 1024;  // rows whose hashes, and whose values of one column, stay in the nearest cache

/// Some rows and what their hashes have taken up so far.
struct Block {
  int64_t begin;
  std::span<uint64_t> h;
  int64_t size() const { return static_cast<int64_t>(h.size()); }
  int64_t end() const { return begin + size(); }
  uint64_t& of(int64_t row) const { return h[row - begin]; }
};

// What a row's hash takes up of a column.

template <typename T>
using Hashed = std::conditional_t<std::is_integral_v<T> && sizeof(T) < sizeof(int32_t), int32_t, T>;

/// Runs over all rows of the block, whose nulls then get their hashes back.
template <typename Run>
void hash_each(const SourceColumn& column, Block block, Run run) {
  if (!column.has_nulls()) return run();
  uint64_t before[kBlock];
  std::ranges::copy(block.h, before);
  run();
  for (int64_t i = 0; i < block.size(); ++i)
    if (!column.valid(block.begin + i)) block.h[i] = before[i];
}

void hash_numbers(const SourceColumn& column, const std::string& type, Block block) {
  with_cast(column, type, [&](auto at) {
    Hashed<decltype(at(0))> values[kBlock];
    for (int64_t i = 0; i < block.size(); ++i) values[i] = at(block.begin + i);
    hash_each(column, block, [&] { spark_hash_each(values, block.h.data(), block.size()); });
  });
}

void hash_texts(const SourceColumn& texts, Block block) {
  const auto* bytes = texts.buffer<std::byte>(2);
  const auto run = [&](const auto* offsets) {
    hash_each(texts, block, [&] { spark_hash_each(bytes, offsets, block.h.data(), block.size()); });
  };
  const int64_t at = texts.first + block.begin;
  texts.wide ? run(texts.buffer<int64_t>(1) + at) : run(texts.buffer<int32_t>(1) + at);
}

/// A list's hashes form a chain, so several rows of one length go side by side.
template <typename At>
void hash_abreast(const SourceColumn& lists, int64_t row, int64_t length, At at, uint64_t* h) {
  constexpr int kLanes = 4;
  std::array<uint64_t, kLanes> lane;
  std::array<int64_t, kLanes> begin;
  for (int i = 0; i < kLanes; ++i) {
    lane[i] = h[i];
    begin[i] = lists.begin(row + i);
  }
  for (int64_t e = 0; e < length; ++e)
    for (int i = 0; i < kLanes; ++i) lane[i] = spark_hash(at(begin[i] + e), lane[i]);
  std::copy(lane.begin(), lane.end(), h);
}

bool four_of(const SourceColumn& lists, int64_t row, int64_t length) {
  for (int i = 0; i < 4; ++i)
    if (lists.begin(row + i + 1) - lists.begin(row + i) != length) return false;
  return true;
}

void hash_lists(const SourceColumn& lists, const std::string& type, Block block) {
  const SourceColumn items = lists.items();
  const bool nulls = lists.has_nulls() || items.has_nulls();
  with_cast(items, type, [&](auto at) {
    for (int64_t row = block.begin; row < block.end();) {
      const int64_t begin = lists.begin(row);
      const int64_t end = lists.begin(row + 1);
      if (row + 4 <= block.end() && !nulls && four_of(lists, row, end - begin)) {
        hash_abreast(lists, row, end - begin, at, &block.of(row));
        row += 4;
        continue;
      }
      for (int64_t e = begin; e < end && lists.valid(row); ++e)
        if (items.valid(e)) block.of(row) = spark_hash(at(e), block.of(row));
      ++row;
    }
  });
}

/// Of up to 18 digits: the lower half of 128 bits holds them.
void hash_decimals(const SourceColumn& column, Block block) {
  const auto* halves = column.buffer<int64_t>(1) + 2 * column.first;
  for (int64_t row = block.begin; row < block.end(); ++row)
    if (column.valid(row)) block.of(row) = spark_hash(halves[2 * row], block.of(row));
}

void hash(const SourceColumn& column, const std::string& type, Block block) {
  if (column.is_list()) return hash_lists(column, type, block);
  if (column.is_text()) return hash_texts(column, block);
  if (column.format.starts_with("d:")) return hash_decimals(column, block);
  hash_numbers(column, type, block);
}

// The columns that come out.

std::vector<bool> validity(const SourceColumn& column, const Rows& rows) {
  std::vector<bool> valid;
  if (!column.has_nulls()) return valid;
  for (const uint32_t row : rows) valid.push_back(column.valid(row));
  return valid;
}

template <typename T>
constexpr const char* format_of() {
  if (std::is_same_v<T, float>) return "f";
  if (std::is_same_v<T, double>) return "g";
  if (std::is_same_v<T, int8_t>) return "c";
  if (std::is_same_v<T, int16_t>) return "s";
  return std::is_same_v<T, int32_t> ? "i" : "l";
}

/// Booleans come out as bytes of 0 and 1, which every reader takes for the same numbers.
template <typename At>
using Stored = std::conditional_t<std::is_same_v<std::invoke_result_t<At, int64_t>, bool>, int8_t,
                                  std::invoke_result_t<At, int64_t>>;

void put_numbers(const SourceColumn& column, const Crossing& to, const Rows& rows, OwnedArray& batch) {
  with_cast(column, to.type, [&](auto at) {
    using T = Stored<decltype(at)>;
    OwnedArray& out = batch.add_child(to.name, format_of<T>());
    out.add_validity(validity(column, rows));
    T* values = out.add_buffer<T>(rows.size());
    for (size_t i = 0; i < rows.size(); ++i) values[i] = at(rows[i]);
    out.finish(rows.size());
  });
}

int32_t* add_offsets(OwnedArray& lists, size_t rows) {
  int32_t* offsets = lists.add_buffer<int32_t>(rows + 1);
  offsets[0] = 0;
  return offsets;
}

void put_lists(const SourceColumn& lists, const Crossing& to, const Rows& rows, OwnedArray& batch) {
  const SourceColumn items = lists.items();
  OwnedArray& out = batch.add_child(to.name, "+l");
  out.add_validity(validity(lists, rows));
  int32_t* offsets = add_offsets(out, rows.size());
  const auto length = [&](uint32_t row) { return lists.valid(row) ? lists.begin(row + 1) - lists.begin(row) : 0; };
  int64_t total = 0;
  for (size_t i = 0; i < rows.size(); ++i) offsets[i + 1] = static_cast<int32_t>(total += length(rows[i]));
  STOKER_CHECK(total <= std::numeric_limits<int32_t>::max());
  with_cast(items, to.type, [&](auto at) {
    using T = Stored<decltype(at)>;
    OwnedArray& values = out.add_child("element", format_of<T>());
    std::vector<bool> valid;
    for (size_t i = 0; i < rows.size() && items.has_nulls(); ++i)
      for (int64_t e = 0; e < length(rows[i]); ++e) valid.push_back(items.valid(lists.begin(rows[i]) + e));
    values.add_validity(valid);
    T* next = values.add_buffer<T>(total);
    for (const uint32_t row : rows) {
      const int64_t begin = lists.begin(row);
      for (int64_t e = 0; e < length(row); ++e) *next++ = at(begin + e);
    }
    values.finish(total);
  });
  out.finish(rows.size());
}

template <typename O>
void put_texts_of(const SourceColumn& texts, const Crossing& to, const Rows& rows, OwnedArray& batch) {
  OwnedArray& out = batch.add_child(to.name, std::string(texts.format));
  out.add_validity(validity(texts, rows));
  O* offsets = out.add_buffer<O>(rows.size() + 1);
  offsets[0] = 0;
  for (size_t i = 0; i < rows.size(); ++i)
    offsets[i + 1] = static_cast<O>(offsets[i] + texts.begin(rows[i] + 1) - texts.begin(rows[i]));
  auto* to_bytes = out.add_buffer<std::byte>(offsets[rows.size()]);
  const auto* from = texts.buffer<std::byte>(2);
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t size = offsets[i + 1] - offsets[i];
    if (size > 0) std::memcpy(to_bytes + offsets[i], from + texts.begin(rows[i]), size);
  }
  out.finish(rows.size());
}

/// One array a row, written in blocks of rows that stay in cache.
template <typename T>
void pack(const std::vector<SourceColumn>& columns, const std::string& type, const Rows& rows, T* out) {
  const size_t width = columns.size();
  for (size_t begin = 0; begin < rows.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, rows.size());
    for (size_t c = 0; c < width; ++c) {
      with_values(columns[c], [&](auto at) {
        for (size_t i = begin; i < end; ++i) out[i * width + c] = static_cast<T>(at(rows[i]));
      });
    }
  }
}

template <typename T>
void put_packed_as(const std::vector<SourceColumn>& columns, const Crossing& to, const Rows& rows, OwnedArray& batch) {
  const size_t total = rows.size() * columns.size();
  OwnedArray& out = batch.add_child(to.name, "+l");
  out.add_validity({});
  int32_t* offsets = add_offsets(out, rows.size());
  for (size_t i = 0; i < rows.size(); ++i) offsets[i + 1] = static_cast<int32_t>((i + 1) * columns.size());
  OwnedArray& values = out.add_child("element", format_of<T>());
  std::vector<bool> valid;
  if (std::any_of(columns.begin(), columns.end(), [](const auto& column) { return column.has_nulls(); })) {
    for (const uint32_t row : rows)
      for (const auto& column : columns) valid.push_back(column.valid(row));
  }
  values.add_validity(valid);
  pack(columns, to.type, rows, values.add_buffer<T>(total));
  values.finish(total);
  out.finish(rows.size());
}

void put_packed(const std::vector<SourceColumn>& columns, const Crossing& to, const Rows& rows, OwnedArray& batch) {
  STOKER_CHECK(rows.size() * columns.size() <= std::numeric_limits<int32_t>::max());
  if (to.type == "float") return put_packed_as<float>(columns, to, rows, batch);
  if (to.type == "double") return put_packed_as<double>(columns, to, rows, batch);
  if (to.type == "smallint") return put_packed_as<int16_t>(columns, to, rows, batch);
  if (to.type == "int") return put_packed_as<int32_t>(columns, to, rows, batch);
  if (to.type == "bigint") return put_packed_as<int64_t>(columns, to, rows, batch);
  fail_bug("nothing is packed as '", to.type, "'");
}

void put(const SourceColumn& column, const Crossing& to, const Rows& rows, OwnedArray& batch) {
  if (column.is_list()) return put_lists(column, to, rows, batch);
  if (column.is_large_text()) return put_texts_of<int64_t>(column, to, rows, batch);
  if (column.is_text()) return put_texts_of<int32_t>(column, to, rows, batch);
  put_numbers(column, to, rows, batch);
}

}  // namespace

DealSpec parse_deal(const std::string& text) try {
  const auto json = nlohmann::json::parse(text);
  DealSpec spec;
  for (const auto& in : json.at("columns"))
    spec.columns.push_back({in.at("name"), in.at("type"), in.at("columns"), in.at("packed")});
  spec.shards = json.at("shards");
  spec.id = json.at("id");
  return spec;
} catch (const nlohmann::json::exception& error) {
  fail_bug("how rows are dealt cannot be read: ", error.what());
}

Dealer::Dealer(DealSpec spec, const std::vector<int>& owned)
    : spec_(std::move(spec)), owns_(spec_.shards), marked_(owned.size() > 1) {
  for (const int shard : owned) owns_.at(shard) = true;
  for (const auto& column : spec_.columns)
    STOKER_CHECK(!column.columns.empty() && (column.packed || column.columns.size() == 1));
}

std::vector<int32_t> Dealer::shards_of(const ArrowArray& batch, const ArrowSchema& schema) const {
  check_batch(batch, schema, 0);
  std::vector<int32_t> shards(batch.length);
  if (spec_.shards == 1) return shards;
  struct Part {
    SourceColumn column;
    std::string type;
  };
  std::vector<Part> parts;
  if (!spec_.id.empty()) {
    parts.push_back({find(batch, schema, spec_.id), ""});
  } else {
    for (const auto& crossing : spec_.columns)
      for (const auto& name : crossing.columns) parts.push_back({find(batch, schema, name), crossing.type});
  }
  for (int64_t begin = 0; begin < batch.length; begin += kBlock) {
    uint64_t h[kBlock];
    const Block block{begin, std::span(h, std::min(kBlock, batch.length - begin))};
    std::ranges::fill(block.h, kSparkHashSeed);
    for (const auto& part : parts) hash(part.column, part.type, block);
    for (int64_t row = begin; row < block.end(); ++row) shards[row] = shard_of_hash(block.of(row), spec_.shards);
  }
  return shards;
}

std::unique_ptr<OwnedArray> Dealer::deal(const ArrowArray& batch, const ArrowSchema& schema) const {
  const std::vector<int32_t> shards = shards_of(batch, schema);
  Rows rows;
  for (size_t row = 0; row < shards.size(); ++row)
    if (owns_[shards[row]]) rows.push_back(static_cast<uint32_t>(row));
  auto out = std::make_unique<OwnedArray>("", "+s");
  out->add_validity({});
  for (const auto& crossing : spec_.columns) {
    std::vector<SourceColumn> columns;
    for (const auto& name : crossing.columns) columns.push_back(find(batch, schema, name));
    crossing.packed ? put_packed(columns, crossing, rows, *out) : put(columns[0], crossing, rows, *out);
  }
  if (marked_) {
    OwnedArray& numbers = out->add_child("__shard", "i");
    numbers.add_validity({});
    int32_t* next = numbers.add_buffer<int32_t>(rows.size());
    for (const uint32_t row : rows) *next++ = shards[row];
    numbers.finish(rows.size());
  }
  out->finish(rows.size());
  return out;
}

}  // namespace stoker::data
