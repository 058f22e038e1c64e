#include "data/store/row_lender.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "data/store/lent_rows.h"
#include "shm/memory.h"

namespace stoker::data {
namespace {

constexpr int kNice = 10;
constexpr size_t kLook = 64 << 20;        // bytes from one look at the memory to the next
constexpr size_t kIndexBytesPerRow = 16;  // orders of the store, the feed, the copy and on its way there

void give_way() { (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice); }

bool has_room(const ColumnStore& store) {
  const size_t rows = store.bytes(), index = static_cast<size_t>(store.rows()) * kIndexBytesPerRow;
  return rows <= store.options().memory / 2 && index <= store.options().memory - 2 * rows;
}

/// Every worker of the host maps what the others lend.
bool may_map() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY;
}

}  // namespace

RowLender::RowLender(const ColumnStore& store, size_t workers, double delay_seconds, std::function<void(bool)> told)
    : store_(store),
      workers_(workers),
      told_(std::move(told)),
      thread_([this, delay_seconds] { run(delay_seconds); }) {}

RowLender::~RowLender() {
  {
    const std::lock_guard lock(mutex_);
    course_.stopped = true;
  }
  stops_.notify_all();
  thread_.join();
}

void RowLender::run(double delay_seconds) {
  give_way();
  {
    std::unique_lock lock(mutex_);
    if (stops_.wait_for(lock, from_seconds(delay_seconds), [&] { return course_.stopped.load(); })) return;
  }
  bool any = false;
  try {
    if (may_make()) make();
    const std::lock_guard lock(mutex_);
    any = !segment_.bytes().empty();
  } catch (const std::exception&) {  // no memory, say: then nothing is lent
  }
  if (!course_.stopped) told_(any);
}

bool RowLender::may_make() const {
  return !store_.on_disk() && has_room(store_) && may_map() && has_memory(store_.bytes());
}

/// Whether as much again is left as all want.
bool RowLender::has_memory(size_t bytes) const { return shm::available_memory() / 2 / workers_ >= bytes; }

void RowLender::make() {
  shm::SegmentWriter file("stoker-rows");
  size_t left = store_.bytes(), next = left;  // the memory is looked at again when that much is left
  store_.each(
      [&](int64_t, std::span<const std::byte> rows) {
        if (left <= next && !has_memory(left)) fail_world("the memory is needed elsewhere");
        if (left <= next) next = left - std::min(left, kLook);
        file.write(rows);
        left -= rows.size();
      },
      course_);
  if (course_.stopped) return;
  std::vector<LentShard> shards;
  for (const auto& told : store_.shard_rows()) shards.push_back({told.shard, told.digest, store_.order(told.shard)});
  file.write(lent_index(store_.stride(), store_.bytes(), shards));
  shm::Segment segment = file.finish();
  const std::lock_guard lock(mutex_);
  segment_ = std::move(segment);
}

shm::Segment RowLender::lend() const {
  const std::lock_guard lock(mutex_);
  return segment_.bytes().empty() ? shm::Segment() : segment_.again();
}

}  // namespace stoker::data
