#pragma once
// "Stop waiting": raised once by any thread, looked at by the one that waits.
#include <atomic>
#include <mutex>
#include <string>

#include "base/error.h"

namespace stoker::collective {

class AbortFlag {
 public:
  /// The first reason stays.
  void raise(const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (raised_) return;
    reason_ = reason;
    raised_ = true;
  }
  /// Throws Error(aborted, reason) once raised.
  void check() const {
    if (!raised_) return;
    const std::lock_guard lock(mutex_);
    throw Error(ErrorKind::aborted, reason_);
  }

 private:
  mutable std::mutex mutex_;
  std::atomic<bool> raised_ = false;
  std::string reason_;  // guarded by mutex_
};

}  // namespace stoker::collective
