#include "train/lockstep.h"

#include "base/error.h"
#include "base/lent_pulse.h"
#include "train/arithmetic.h"

namespace stoker::train {

Lockstep::~Lockstep() {
  for (const auto& runner : runners_) {
    runner->body = nullptr;
    runner->go.release();
  }
}

void Lockstep::serve(Runner& runner) {
  const Arithmetic arithmetic(threads_);
  while (true) {
    runner.go.acquire();
    if (!runner.body) return;
    const pulse::Lent lent(pulse_);
    try {
      (*runner.body)();
    } catch (...) {
      runner.error = std::current_exception();
    }
    runner.ended = true;
    back_.release();
  }
}

/// Until its next point, or its end.
void Lockstep::let_go(Runner& runner) {
  current_ = &runner;
  runner.go.release();
  back_.acquire();
}

void Lockstep::point() {
  Runner& mine = *current_;
  back_.release();
  mine.go.acquire();
  if (stopping_) throw Error(ErrorKind::aborted, "another part of the step has failed");
}

/// Those that stand at a point come to their end; others have not begun.
void Lockstep::stop(size_t bodies) {
  stopping_ = true;
  for (size_t i = 0; i < bodies; ++i)
    while (!runners_[i]->ended) let_go(*runners_[i]);
  stopping_ = false;
}

void Lockstep::run(const std::vector<Body>& bodies, const std::function<void()>& meet) {
  pulse_ = pulse::lent();
  while (runners_.size() < bodies.size()) {
    runners_.push_back(std::make_unique<Runner>());
    runners_.back()->thread = std::jthread([this, runner = runners_.back().get()] { serve(*runner); });
  }
  for (size_t i = 0; i < bodies.size(); ++i) {
    runners_[i]->body = &bodies[i];
    runners_[i]->error = nullptr;
  }
  try {
    for (bool begins = true; !bodies.empty(); begins = false) {
      size_t ended = 0;
      for (size_t i = 0; i < bodies.size(); ++i) {
        if (begins) runners_[i]->ended = false;
        let_go(*runners_[i]);
        if (runners_[i]->error) std::rethrow_exception(runners_[i]->error);
        ended += runners_[i]->ended ? 1 : 0;
      }
      if (ended == bodies.size()) return;
      if (ended > 0) fail_bug("bodies in lockstep have met unequally often");
      meet();
    }
  } catch (...) {
    stop(bodies.size());
    throw;
  }
}

}  // namespace stoker::train
