#include "base/pulse.h"

#include "base/error.h"

namespace stoker::pulse {
namespace {

thread_local Pulse* mine = nullptr;

}  // namespace

void beat() {
  if (mine) mine->beat();
}

Work::Work(Pulse& pulse) : pulse_(pulse) {
  STOKER_CHECK(!mine);
  mine = &pulse;
  pulse.beat();
  pulse.at_work_ = true;
}

Work::~Work() {
  pulse_.at_work_ = false;
  mine = nullptr;
}

Rest::Rest() : pulse_(mine && mine->at_work_ ? mine : nullptr) {
  if (pulse_) pulse_->at_work_ = false;
}

Rest::~Rest() {
  if (!pulse_) return;
  pulse_->beat();
  pulse_->at_work_ = true;
}

Duration Watch::look(TimePoint now, Pulse::Reading reading, Duration gap) {
  const Duration passed = now - last_;
  last_ = now;
  if (!reading.at_work || reading.beats != beats_)
    idle_ = {};
  else if (passed <= gap)
    idle_ += passed;
  beats_ = reading.beats;
  return idle_;
}

}  // namespace stoker::pulse
