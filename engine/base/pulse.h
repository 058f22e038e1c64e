#pragma once
// Signs of life of a thread that works for a gang: it beats whenever something is done (an operator has run, bytes have
// moved, rows are stored), so that others can tell a thread that hangs from one that has much to do. Waiting for
// others is no silence: a thread that waits rests, or beats each time it looks. Nor has it an end of its own: whoever
// waits for peers says so (Wait), and who knows of all of them judges whether anything moves at all.
//
// beat(), moved(), Rest and Wait are for any code that a working thread runs through; in other threads they do nothing.
#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "base/clock.h"

namespace stoker::pulse {

/// Of one thread, which alone changes it; any thread may read it.
class Pulse {
 public:
  struct Reading {
    uint64_t beats = 0;
    uint64_t moves = 0;
    bool at_work = false;
    bool waits = false;  // it does not work, or waits for peers
  };
  Reading read() const;
  /// What it waits for, where it waits for peers and has said so; else "".
  std::string awaits() const;

 private:
  friend class Work;
  friend class Rest;
  friend class Wait;
  friend void beat();
  friend void moved();
  static void count(std::atomic<uint64_t>& number) {
    number.store(number.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void beat() { count(beats_); }
  void move() { count(moves_); }

  std::atomic<uint64_t> beats_ = 0;
  std::atomic<uint64_t> moves_ = 0;  // things that came while it waited, and waits
  std::atomic<bool> at_work_ = false, waits_ = false;
  mutable std::mutex mutex_;
  std::string awaits_;  // guarded by mutex_
};

/// Something is done. Costs a few nanoseconds. Of a thread that waits: it has looked.
void beat();
/// What a thread waits for has come nearer: bytes, a peer.
void moved();

/// While it lives this thread works, and its pulse is this one. One at a time in a thread.
class Work {
 public:
  explicit Work(Pulse& pulse);
  ~Work();
  Work(const Work&) = delete;

 private:
  Pulse& pulse_;
};

/// While it lives this thread waits for somebody.
class Rest {
 public:
  Rest();
  ~Rest();
  Rest(const Rest&) = delete;

 private:
  Pulse* const pulse_;  // none where the thread does not work, or rests already
};

/// While it lives this thread waits for its peers. It beats each time it looks, so it is seen to live; moved() tells
/// that something came.
class Wait {
 public:
  Wait();
  /// Says what for at once, in words that go on after "waits for".
  explicit Wait(std::string words);
  ~Wait();
  Wait(const Wait&) = delete;
  /// Says it where the wait lasts. Asks for the words now and then only.
  void says(const std::function<std::string()>& words);

 private:
  void say(std::string words);

  Pulse* const pulse_;  // none where the thread does not work, or waits already
  TimePoint next_;      // when it says something again
};

/// How long a thread has got nothing done.
struct Still {
  Duration idle{};     // at work, without a beat
  Duration waiting{};  // not at work or waiting for peers, with nothing that moves
};

/// Measures it. Used by one thread, which looks often.
class Watch {
 public:
  /// As of `now`. A time between two looks that is longer than `gap` was no time of this process, and does not count.
  Still look(TimePoint now, Pulse::Reading reading, Duration gap);

 private:
  TimePoint last_{};
  Pulse::Reading before_;
  Still still_;
};

}  // namespace stoker::pulse
