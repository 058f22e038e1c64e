#include "data/store/lent_rows.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/pieces.h"

namespace stoker::data {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kPage = 4096;
constexpr uint64_t kMagic = 0x73776f72746e656c;

struct Entry {
  int32_t shard = 0;
  uint32_t rows = 0;
  Hash128 digest;
};

struct Tail {
  uint64_t magic = kMagic;
  uint64_t stride = 0;
  uint64_t rows = 0;
  uint64_t shards = 0;
};

/// Where things lie.
struct Offsets {
  Offsets(size_t row_bytes, size_t rows, size_t shards)
      : orders(round_up(row_bytes, kLine)),
        entries(round_up(orders + rows * sizeof(uint32_t), kLine)),
        end(round_up(entries + shards * sizeof(Entry) + sizeof(Tail), kPage)) {}
  size_t orders, entries, end;
};

size_t rows_of(const std::vector<LentShard>& shards) {
  size_t rows = 0;
  for (const auto& shard : shards) rows += shard.order.size();
  return rows;
}

Tail tail_of(std::span<const std::byte> segment) {
  Tail tail;
  if (segment.size() < sizeof(tail)) fail_world("lent rows are cut short");
  std::memcpy(&tail, segment.data() + segment.size() - sizeof(tail), sizeof(tail));
  return tail;
}

/// No number of it is trusted before it is looked at.
bool fits(const Tail& tail, size_t bytes, size_t stride) {
  if (tail.magic != kMagic || tail.stride != stride) return false;
  if (tail.rows > bytes / stride || tail.shards > bytes / sizeof(Entry)) return false;
  return Offsets(tail.rows * stride, tail.rows, tail.shards).end == bytes;
}

void check_numbers(std::span<const uint32_t> numbers, size_t rows) {
  in_pieces(numbers.size(), kPieceRows, [&](size_t begin, size_t n) {
    for (const uint32_t number : numbers.subspan(begin, n))
      if (number >= rows) fail_world("lent rows have a row that is not there");
  });
}

std::vector<LentShard> lent_shards(std::span<const std::byte> bytes, size_t stride) {
  std::vector<LentShard> shards;
  const Tail tail = tail_of(bytes);
  if (!fits(tail, bytes.size(), stride)) fail_world("lent rows are not such rows");
  const Offsets at(tail.rows * stride, tail.rows, tail.shards);
  const std::span orders(reinterpret_cast<const uint32_t*>(bytes.data() + at.orders), tail.rows);
  size_t first = 0;
  for (size_t i = 0; i < tail.shards; ++i) {
    Entry entry;
    std::memcpy(&entry, bytes.data() + at.entries + i * sizeof(entry), sizeof(entry));
    if (entry.rows > orders.size() - first) fail_world("lent rows have a shard of more rows than there are");
    shards.push_back({entry.shard, entry.digest, orders.subspan(first, entry.rows)});
    first += entry.rows;
  }
  check_numbers(orders, tail.rows);
  return shards;
}

}  // namespace

Bytes lent_index(size_t stride, size_t row_bytes, const std::vector<LentShard>& shards) {
  const Offsets at(row_bytes, rows_of(shards), shards.size());
  Bytes index(at.end - row_bytes);
  std::byte* order = index.data() + (at.orders - row_bytes);
  std::byte* entry = index.data() + (at.entries - row_bytes);
  for (const auto& shard : shards) {
    copy_bytes(std::as_bytes(shard.order), order);
    order += shard.order.size_bytes();
    const Entry told{shard.shard, static_cast<uint32_t>(shard.order.size()), shard.digest};
    std::memcpy(entry, &told, sizeof(told));
    entry += sizeof(told);
  }
  const Tail tail{.stride = stride, .rows = rows_of(shards), .shards = shards.size()};
  std::memcpy(index.data() + index.size() - sizeof(tail), &tail, sizeof(tail));
  return index;
}

LentRows::LentRows(shm::Segment segment, size_t stride)
    : segment_(std::move(segment)),
      id_(segment_.bytes().empty() ? 0 : segment_.id()),
      shards_(lent_shards(segment_.bytes(), stride)) {
  segment_.protect();
  segment_.close_fd();
}

void Borrowed::take(LentRows lent) {
  const auto rows = std::make_shared<const LentRows>(std::move(lent));
  for (size_t i = 0; i < rows->shards().size(); ++i) places_[rows->shards()[i].shard] = {rows, i};
}

bool Borrowed::has(uint64_t id) const {
  return std::ranges::any_of(places_, [&](const auto& entry) { return entry.second.rows->id() == id; });
}

const LentRows* Borrowed::of(int shard) const {
  const auto found = places_.find(shard);
  return found == places_.end() ? nullptr : found->second.rows.get();
}

const LentShard& Borrowed::told(int shard) const {
  const Place& place = places_.at(shard);
  return place.rows->shards()[place.index];
}

}  // namespace stoker::data
