#include "data/store/read_ahead.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/pieces.h"

namespace stoker::data {
namespace {
constexpr size_t kFirstPart = 16;   // of a whole window
constexpr int kNice = 10;           // training goes first where cores are few: a step waits for its slowest worker
constexpr size_t kPage = 4096;      // a row alone is read with what lies around it
constexpr size_t kDealtPasses = 3;  // over the rows: read, written, and read again
constexpr auto kLook = std::chrono::milliseconds(100);
}  // namespace

ReadAhead::ReadAhead(const ColumnStore& store, int64_t steps, int slots, Rows rows)
    : store_(store), steps_(steps), slots_(slots), rows_(std::move(rows)) {}

void ReadAhead::stop() {
  course_.stopped = true;
  if (reading_.valid()) reading_.wait();
  reading_ = {};
  for (Window& window : windows_) window.part = {};
  parts_.clear();
  course_.stopped = false;
  if (interrupted_) course_.stopped = true;  // looked at last, so that no interrupt is lost
}

void ReadAhead::interrupt() {
  interrupted_ = true;
  course_.stopped = true;
}

RowsAt ReadAhead::at(int64_t step, int slot) {
  if (!windows_[now_].part.has(step)) advance(step);
  if (interrupted_) throw Error(ErrorKind::aborted, "reading ahead was interrupted");
  const Window& window = windows_[now_];
  const size_t i = (step - window.part.begin) * slots_ + slot;
  return {window.memory.data() + window.starts[i] * store_.stride(), nullptr,
          static_cast<int64_t>(window.starts[i + 1] - window.starts[i])};
}

void ReadAhead::advance(int64_t step) {
  if (reading_.valid()) wait();
  if (!windows_[1 - now_].part.has(step)) {
    begin(step);
    launch();
    wait();
  }
  now_ = 1 - now_;
  launch();
}

/// As long as something moves, the one that waits is at work.
void ReadAhead::wait() {
  for (uint64_t seen = course_.moved; reading_.wait_for(kLook) != std::future_status::ready;) {
    if (seen != course_.moved) pulse::beat();
    seen = course_.moved;
  }
  std::exchange(reading_, {}).get();
}

/// Calls f(rows) for each slot of each step.
template <typename F>
void ReadAhead::each_slot(const Part& part, F f) const {
  for (int64_t step = part.begin; step < part.end; ++step)
    for (int slot = 0; slot < slots_; ++slot) f(rows_(step, slot));
}

int64_t ReadAhead::count(int64_t step) const {
  int64_t rows = 0;
  each_slot({step, step + 1}, [&](const auto& more) { rows += static_cast<int64_t>(more.size()); });
  return rows;
}

/// Parts of as many steps as fit, and one at least.
void ReadAhead::begin(int64_t step) {
  parts_.clear();
  next_ = 0;
  dealt_ = false;
  const size_t whole = store_.options().window_bytes();
  size_t bytes = whole / kFirstPart;
  for (Part part{step, step}; step < steps_; part = {step, step}, bytes = std::min(whole, 2 * bytes)) {
    for (; step < steps_; part.end = ++step) {
      const int64_t more = count(step);
      if (part.end > part.begin && (part.rows + more) * store_.stride() > bytes) break;
      part.rows += more;
    }
    parts_.push_back(part);
  }
}

/// Begins to read the next part, if there is one.
void ReadAhead::launch() {
  if (next_ >= parts_.size()) return;
  reading_ = std::async(std::launch::async, [this, &window = windows_[1 - now_], part = next_++] {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kNice);
    if (part == 0 && is_worth_dealing()) deal(window.memory);
    read(window, part);
  });
}

void ReadAhead::read(Window& window, size_t number) {
  const Part& part = parts_[number];
  window.part = {};  // nothing, should it fail
  window.starts.assign(1, 0);
  each_slot(part, [&](const auto& rows) { window.starts.push_back(window.starts.back() + rows.size()); });
  window.memory.reserve(part.rows * store_.stride());
  copy(number, window.memory.data());
  window.part = part;
}

void ReadAhead::copy(size_t number, std::byte* out) {
  if (dealt_) return file_->read(number, out, course_);
  const auto rows = rows_of(parts_[number]);
  store_.copy(rows.data(), static_cast<int64_t>(rows.size()), out, course_);
}

std::vector<uint32_t> ReadAhead::rows_of(const Part& part) const {
  std::vector<uint32_t> all;
  all.reserve(part.rows);
  each_slot(part, [&](const auto& rows) { all.insert(all.end(), rows.begin(), rows.end()); });
  return all;
}

/// Whether without it more would be read: for each row all that lies before the part's next one, but not more than the
/// pages that it is in.
bool ReadAhead::is_worth_dealing() const {
  const size_t each = std::min(parts_.size() * store_.stride(), store_.stride() + kPage);
  return has_room_ && each > kDealtPasses * store_.stride();
}

/// `memory` is that of a window that has not been read yet.
void ReadAhead::deal(RowMemory& memory) {
  std::vector<int64_t> ends;
  for (const Part& part : parts_) ends.push_back((ends.empty() ? 0 : ends.back()) + part.rows);
  if (!file_) file_ = std::make_unique<EpochFile>(store_.options().spill, store_.stride());
  try {
    file_->reserve(ends.back(), course_);
  } catch (const Error&) {
    has_room_ = false;  // then reading takes longer
    file_.reset();
    return;
  }
  const size_t places = store_.rows() * sizeof(uint32_t);
  const size_t bytes = std::max(store_.options().window_bytes(), places + file_->least_bytes(ends.size()));
  memory.reserve(bytes);
  const std::span place(reinterpret_cast<uint32_t*>(memory.data()), static_cast<size_t>(store_.rows()));
  in_pieces(place.size(), kPieceRows, [&](size_t begin, size_t count) {
    std::ranges::fill(place.subspan(begin, count), EpochFile::kUnused);
    ++course_.moved;
  });
  uint32_t next = 0;
  each_slot({parts_.front().begin, steps_}, [&](const auto& rows) {
    if (course_.stopped) return;
    for (const uint32_t row : rows) place[row] = next++;
    ++course_.moved;
  });
  file_->deal(store_, place, std::move(ends), {memory.data() + places, bytes - places}, course_);
  dealt_ = true;
}

}  // namespace stoker::data
