#include "base/pulse.h"

#include "base/error.h"
#include "base/lent_pulse.h"

namespace stoker::pulse {
namespace {

thread_local Pulse* mine = nullptr;
constexpr auto kSayEvery = std::chrono::milliseconds(50);

}  // namespace

Pulse::Reading Pulse::read() const {
  constexpr auto kAny = std::memory_order_relaxed;
  const bool at_work = at_work_.load(kAny);
  return {beats_.load(kAny), moves_.load(kAny), at_work, !at_work || waits_.load(kAny)};
}

std::string Pulse::awaits() const {
  const std::lock_guard lock(mutex_);
  return awaits_;
}

Pulse* lent() { return mine; }

Lent::Lent(Pulse* pulse) : before_(mine) { mine = pulse; }

Lent::~Lent() { mine = before_; }

void beat() {
  if (mine) mine->beat();
}

void moved() {
  if (mine) mine->move();
}

Work::Work(Pulse& pulse) : pulse_(pulse) {
  STOKER_CHECK(!mine);
  mine = &pulse;
  pulse.beat();
  pulse.move();
  pulse.at_work_ = true;
}

Work::~Work() {
  pulse_.at_work_ = false;
  mine = nullptr;
}

Rest::Rest() : pulse_(mine && mine->at_work_ ? mine : nullptr) {
  if (!pulse_) return;
  pulse_->move();
  pulse_->at_work_ = false;
}

Rest::~Rest() {
  if (!pulse_) return;
  pulse_->beat();
  pulse_->at_work_ = true;
}

Wait::Wait() : pulse_(mine && !mine->waits_ ? mine : nullptr) {
  if (!pulse_) return;
  next_ = Clock::now() + kSayEvery;
  pulse_->move();
  pulse_->waits_ = true;
}

Wait::Wait(std::string words) : Wait() {
  if (pulse_) say(std::move(words));
}

Wait::~Wait() {
  if (!pulse_) return;
  pulse_->waits_ = false;
  const std::lock_guard lock(pulse_->mutex_);
  pulse_->awaits_.clear();
}

void Wait::says(const std::function<std::string()>& words) {
  if (pulse_ && Clock::now() >= next_) say(words());
}

void Wait::say(std::string words) {
  next_ = Clock::now() + kSayEvery;
  const std::lock_guard lock(pulse_->mutex_);
  pulse_->awaits_ = std::move(words);
}

Still Watch::look(TimePoint now, Pulse::Reading reading, Duration gap) {
  const Duration passed = now - last_;
  last_ = now;
  if (!reading.at_work || reading.beats != before_.beats)
    still_.idle = {};
  else if (passed <= gap)
    still_.idle += passed;
  if (!reading.waits || !before_.waits || reading.moves != before_.moves)
    still_.waiting = {};
  else if (passed <= gap)
    still_.waiting += passed;
  before_ = reading;
  return still_;
}

}  // namespace stoker::pulse
