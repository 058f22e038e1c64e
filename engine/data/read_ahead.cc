#include "data/read_ahead.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace stoker::data {
namespace {
constexpr size_t kFirstPart = 16;  // of a whole window
constexpr int kNice = 10;          // training goes first where cores are few: a step waits for its slowest worker
}  // namespace

ReadAhead::ReadAhead(const ColumnStore& store, int64_t steps, int slots, Rows rows)
    : store_(store), steps_(steps), slots_(slots), rows_(std::move(rows)) {}

void ReadAhead::stop() {
  stop_ = true;
  if (reading_.valid()) reading_.wait();
  reading_ = {};
  for (Window& window : windows_) window.begin = window.end = 0;
  bytes_ = 0;
  stop_ = false;
  if (interrupted_) stop_ = true;
}

void ReadAhead::interrupt() {
  interrupted_ = true;
  stop_ = true;
}

RowsAt ReadAhead::at(int64_t step, int slot) {
  if (!windows_[now_].has(step)) advance(step);
  if (interrupted_) throw Error(ErrorKind::aborted, "reading ahead was interrupted");
  const Window& window = windows_[now_];
  const size_t i = (step - window.begin) * slots_ + slot;
  return {window.memory.data() + window.starts[i] * store_.stride(), nullptr,
          static_cast<int64_t>(window.starts[i + 1] - window.starts[i])};
}

void ReadAhead::advance(int64_t step) {
  if (reading_.valid()) std::exchange(reading_, {}).get();
  if (!windows_[1 - now_].has(step)) {
    launch(step);
    std::exchange(reading_, {}).get();
  }
  now_ = 1 - now_;
  launch(windows_[now_].end);
}

/// Begins to read the window that starts with `step`, if there is such a step.
void ReadAhead::launch(int64_t step) {
  if (step >= steps_) return;
  const size_t whole = store_.options().window_bytes();
  bytes_ = std::min(whole, bytes_ == 0 ? whole / kFirstPart : 2 * bytes_);
  reading_ = std::async(std::launch::async, [this, step, &window = windows_[1 - now_], bytes = bytes_] {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
    read(window, step, bytes);
  });
}

/// As many steps as fit, and one at least.
void ReadAhead::read(Window& window, int64_t step, size_t bytes) {
  window.begin = window.end = step;
  window.starts.assign(1, 0);
  std::vector<uint32_t> rows;
  int64_t end = step;
  for (; end < steps_; ++end) {
    const size_t before = rows.size();
    add(window, rows, end);
    if (end == step || rows.size() * store_.stride() <= bytes) continue;
    rows.resize(before);
    break;
  }
  window.memory.reserve(rows.size() * store_.stride());
  store_.copy(rows.data(), static_cast<int64_t>(rows.size()), window.memory.data(), &stop_);
  window.end = end;
}

void ReadAhead::add(Window& window, std::vector<uint32_t>& rows, int64_t step) const {
  for (int slot = 0; slot < slots_; ++slot) {
    const auto more = rows_(step, slot);
    rows.insert(rows.end(), more.begin(), more.end());
    window.starts.push_back(rows.size());
  }
}

}  // namespace stoker::data
