#pragma once
// Several bodies of work that go on together: each runs to the next point where all must meet, one after the other, so
// that what they do there may be computed of all of them. A body needs a stack of its own, as autograd has one between
// two batch norms: so each has a thread, of which one runs at a time.
#include <exception>
#include <functional>
#include <memory>
#include <semaphore>
#include <thread>
#include <vector>

#include "base/pulse.h"

namespace stoker::train {

class Lockstep {
 public:
  /// `threads`: intra-op threads of each body.
  explicit Lockstep(int threads) : threads_(threads) {}
  ~Lockstep();

  using Body = std::function<void()>;
  /// Runs the bodies in their order from point to point; at each `meet` is called on this thread, and they go on.
  /// Returns when all have ended. What one of them throws, or `meet`, ends the others at their points with
  /// Error(aborted) and is thrown here, when all have ended. That bodies meet unequally often is a bug.
  void run(const std::vector<Body>& bodies, const std::function<void()>& meet);
  /// Inside a body: returns when all have come to the point and met.
  void point();

 private:
  struct Runner {
    std::binary_semaphore go{0};
    const Body* body = nullptr;  // null: it is to end
    bool ended = true;
    std::exception_ptr error;
    std::jthread thread;
  };

  void serve(Runner& runner);
  void let_go(Runner& runner);
  void stop(size_t bodies);

  const int threads_;
  std::vector<std::unique_ptr<Runner>> runners_;
  Runner* current_ = nullptr;
  std::binary_semaphore back_{0};
  bool stopping_ = false;
  pulse::Pulse* pulse_ = nullptr;  // of the thread that is in run()
};

}  // namespace stoker::train
