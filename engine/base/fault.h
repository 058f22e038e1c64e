#pragma once
// Faults on order, for the laboratory in tests/: a process can be told to die, to freeze or to be slow at a named
// point, or to lose or spoil a frame. Builds for users have no_fault.cc in place of fault.cc (STOKER_FAULTS in CMake):
// there nothing is ever scheduled, and of the points nothing is left.
//
// The schedule is the environment variable STOKER_FAULTS when the process loads the engine, entries split by ';':
//   NAME@N=die        SIGKILL to itself
//   NAME@N=freeze     SIGSTOP to itself; whoever likes wakes it
//   NAME@N=hang       the thread that passes the point stops for good, its process lives
//   NAME@N=slow:MS    waits so many milliseconds, as in one operator that takes so long
//   NAME@N=busy:MS    works so many milliseconds, and gets something done all the time
//   NAME@N=drop       the frame is not sent
//   NAME@N=corrupt    the frame's last byte is another one
//   NAME@N=skip       what the point stands for is left out, always
// A point that knows its step (the number that the step's commit brings the fit to, from 1) acts at N or, in a process
// that comes later, the first time after; others act at the Nth time. Each entry acts once. What has acted is appended
// to the file STOKER_FAULTS_LOG, a line "pid name N how" written before it acts. Thread-safe.
//
// A point without a schedule costs a load and a branch. The points there are: see tests/faults/points.py.
#include <cstdint>
#include <string>

#include "base/codec.h"

namespace stoker::fault {

inline constexpr int64_t kNoStep = -1;
/// Whether this build can be told to fail.
inline constexpr bool kPossible = STOKER_FAULTS;

/// Whether anything is scheduled.
extern bool armed;

/// Takes a schedule in place of the one there is; "": none. Before threads pass points. Throws Error(user) on a text
/// that is no schedule, and on any but "" in a build without faults.
void schedule(const std::string& text);

void act(const char* name, int64_t step);
void act_on_frame(const char* name, Bytes& frame);
bool asked_to_skip(const char* name);

inline void point(const char* name, int64_t step = kNoStep) {
  if constexpr (kPossible)
    if (armed) [[unlikely]]
      act(name, step);
}

/// Leaves the frame empty where it shall not be sent.
inline void frame(const char* name, Bytes& frame) {
  if constexpr (kPossible)
    if (armed) [[unlikely]]
      act_on_frame(name, frame);
}

/// Whether the laboratory wants to see what the engine would be without this.
inline bool skips(const char* name) {
  if constexpr (kPossible) return armed && asked_to_skip(name);
  return false;
}

}  // namespace stoker::fault
