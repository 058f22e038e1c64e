#include "base/fault.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <sstream>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/pulse.h"

namespace stoker::fault {

namespace {

enum class How { die, freeze, hang, slow, busy, drop, corrupt, skip };

struct Entry {
  std::string name;
  int64_t at = 0;
  How how = How::die;
  int64_t milliseconds = 0;
  std::string text;  // of `how`
  int64_t now = 0;
  bool done = false;
};

std::mutex mutex;
std::vector<Entry> entries;  // guarded by mutex

int64_t number(std::string_view text) {
  int64_t n = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size() || n < 0) fail_user("'", text, "' is no number");
  return n;
}

void set_how(Entry& entry) {
  const std::string& text = entry.text;
  constexpr const char* kNames[] = {"die", "freeze", "hang", "slow", "busy", "drop", "corrupt", "skip"};
  const std::string_view name = std::string_view(text).substr(0, text.find(':'));
  const auto* const found = std::ranges::find(kNames, name);
  if (found == std::end(kNames)) fail_user("'", text, "' is no way to fail");
  entry.how = static_cast<How>(found - kNames);
  const bool lasts = entry.how == How::slow || entry.how == How::busy;
  if (lasts != (name.size() < text.size())) fail_user("'", text, "' is no way to fail");
  if (lasts) entry.milliseconds = number(std::string_view(text).substr(name.size() + 1));
}

Entry parse(const std::string& text) {
  const size_t at = text.find('@'), is = text.find('=');
  if (at == std::string::npos || is == std::string::npos || at > is) fail_user("'", text, "' is not NAME@N=HOW");
  Entry entry;
  entry.name = text.substr(0, at);
  entry.at = number(std::string_view(text).substr(at + 1, is - at - 1));
  entry.text = text.substr(is + 1);
  set_how(entry);
  return entry;
}

/// The first entry whose time has come, if there is one. Every entry of the name counts, whichever acts.
std::optional<Entry> due(const char* name, int64_t step) {
  const std::lock_guard lock(mutex);
  Entry* found = nullptr;
  for (Entry& entry : entries) {
    if (entry.done || entry.name != name || entry.how == How::skip) continue;
    entry.now = step == kNoStep ? entry.now + 1 : step;
    if (entry.now >= entry.at && !found) found = &entry;
  }
  if (!found) return {};
  found->done = true;
  return *found;
}

void tell(const Entry& entry) {
  const char* path = std::getenv("STOKER_FAULTS_LOG");
  if (!path) return;
  const std::string line = cat(::getpid(), " ", entry.name, " ", entry.now, " ", entry.text, "\n");
  const int fd = ::open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  [[maybe_unused]] const auto written = ::write(fd, line.data(), line.size());
  ::close(fd);
}

void work_for(Duration time) {
  for (const TimePoint end = Clock::now() + time; Clock::now() < end; pulse::beat())
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

void suffer(const Entry& entry) {
  tell(entry);
  if (entry.how == How::die) ::kill(::getpid(), SIGKILL);
  if (entry.how == How::freeze) ::kill(::getpid(), SIGSTOP);
  while (entry.how == How::hang) ::pause();
  const std::chrono::milliseconds time(entry.milliseconds);
  if (entry.how == How::slow) std::this_thread::sleep_for(time);
  if (entry.how == How::busy) work_for(time);
}

/// A schedule that cannot be read ends the process: nobody should think that it was followed.
bool take_environment() {
  const char* text = std::getenv("STOKER_FAULTS");
  if (text) schedule(text);
  return armed;
}

}  // namespace

bool armed = take_environment();

void schedule(const std::string& text) {
  std::vector<Entry> fresh;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, ';');) fresh.push_back(parse(part));
  const std::lock_guard lock(mutex);
  entries = std::move(fresh);
  armed = !entries.empty();
}

void act(const char* name, int64_t step) {
  if (const auto entry = due(name, step)) suffer(*entry);
}

bool asked_to_skip(const char* name) {
  const std::lock_guard lock(mutex);
  return std::ranges::any_of(entries, [&](const Entry& e) { return e.how == How::skip && e.name == name; });
}

void act_on_frame(const char* name, Bytes& frame) {
  const auto entry = due(name, kNoStep);
  if (!entry) return;
  suffer(*entry);
  if (entry->how == How::drop) frame.clear();
  if (entry->how == How::corrupt && !frame.empty()) frame.back() ^= std::byte{0x5a};
}

}  // namespace stoker::fault
