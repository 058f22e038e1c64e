#include "train/collected.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/pulse.h"

namespace stoker::train {

namespace {

using Count = uint64_t;  // of the scored rows, which come after it; the rest are grouped ones

template <typename Row>
void append(Bytes& to, const std::vector<Row>& rows) {
  const auto bytes = std::as_bytes(std::span(rows));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

template <typename Row>
std::span<const Row> rows_of(ByteView bytes) {
  return {reinterpret_cast<const Row*>(bytes.data()), bytes.size() / sizeof(Row)};
}

ByteView scored_part(ByteView packed) {
  Count count = 0;
  if (packed.size() < sizeof(count)) fail_world("the rows of a metric are cut short");
  std::memcpy(&count, packed.data(), sizeof(count));
  const ByteView rest = packed.subspan(sizeof(count));
  if (count > rest.size() / sizeof(Scored)) fail_world("the rows of a metric are cut short");
  return rest.first(count * sizeof(Scored));
}

}  // namespace

size_t packed_bytes(size_t rows_bytes) { return sizeof(Count) + rows_bytes; }

Bytes packed(const Collected& rows, int64_t classes) {
  const auto scored = classes > 0 ? sorted_runs(rows.scored, classes) : std::vector<Scored>();
  auto grouped = rows.grouped;
  std::ranges::sort(grouped, precedes);
  pulse::beat();
  const Count count = scored.size();
  Bytes out;
  out.reserve(packed_bytes(scored.size() * sizeof(Scored) + grouped.size() * sizeof(Grouped)));
  append(out, std::vector<Count>{count});
  append(out, scored);
  append(out, grouped);
  return out;
}

Gathered gathered(const std::vector<ByteView>& packed, int64_t classes) {
  Gathered found;
  std::vector<ByteView> scored;
  for (const ByteView each : packed) {
    if (each.empty()) continue;
    scored.push_back(scored_part(each));
    found.grouped.push_back(rows_of<Grouped>(each.subspan(packed_bytes(scored.back().size()))));
  }
  found.scored = runs_of(scored, classes);
  return found;
}

}  // namespace stoker::train
