#include "sync/turn_order.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "base/error.h"

namespace stoker::sync {
namespace {

int64_t fewest(std::span<const int64_t> pushes, const std::vector<bool>& present) {
  int64_t least = std::numeric_limits<int64_t>::max();
  for (size_t shard = 0; shard < pushes.size(); ++shard)
    if (present[shard]) least = std::min(least, pushes[shard]);
  return least;
}

}  // namespace

int64_t pushes_made(std::span<const ReplicaNumbers> numbers) {
  int64_t made = 0;
  for (const auto& replica : numbers) made += replica.pushes;
  return made;
}

Push push_at(int64_t ticket, int shard, int64_t steps, const ReplicaNumbers& before) {
  return {shard, steps, ticket - before.pulled};
}

ReplicaNumbers after_push(const ReplicaNumbers& before, int64_t ticket, int64_t steps) {
  return {before.steps + steps, before.pushes + 1, ticket + 1};
}

std::vector<Push> pushes_of(const std::vector<bool>& present, std::span<const ReplicaNumbers> before,
                            std::span<const int64_t> steps) {
  std::vector<Push> pushes;
  int64_t ticket = pushes_made(before);
  for (int shard = 0; shard < static_cast<int>(before.size()); ++shard)
    if (present[shard]) pushes.push_back(push_at(ticket++, shard, steps[shard], before[shard]));
  return pushes;
}

std::string to_text(std::span<const uint8_t> record) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const int shard : record) text += {kDigits[shard / 16], kDigits[shard % 16]};
  return text;
}

Record record_of(const std::string& text) {
  Record record(text.size() / 2);
  for (size_t i = 0; i < record.size(); ++i) {
    const char* begin = text.data() + 2 * i;
    const auto [end, error] = std::from_chars(begin, begin + 2, record[i], 16);
    if (end != begin + 2) fail_user("a recorded order is not what this version writes: '", text.substr(2 * i, 2), "'");
  }
  if (text.size() % 2 != 0) fail_user("a recorded order is cut short");
  return record;
}

int next_by_arrival(const Standing& at, std::span<const int> mine) {
  if (at.left == 0) return kNobody;
  int next = kNobody;
  for (const int shard : mine)
    if (at.present[shard] && (next < 0 || at.pushes[shard] < at.pushes[next])) next = shard;
  if (next < 0 || at.bound < 0) return next;
  return at.pushes[next] - fewest(at.pushes, at.present) <= at.bound ? next : kLater;
}

int64_t next_by_record(std::span<const uint8_t> record, int64_t from, std::span<const int> mine) {
  const auto found = std::find_if(record.begin() + from, record.end(),
                                  [&](int shard) { return std::ranges::binary_search(mine, shard); });
  return found - record.begin();
}

int64_t first_beyond(std::span<const uint8_t> record, const std::vector<bool>& present, int64_t bound) {
  std::vector<int64_t> pushes(present.size());
  for (size_t i = 0; i < record.size(); ++i) {
    if (pushes[record[i]] - fewest(pushes, present) > bound) return static_cast<int64_t>(i);
    ++pushes[record[i]];
  }
  return static_cast<int64_t>(record.size());
}

}  // namespace stoker::sync
