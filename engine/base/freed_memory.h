#pragma once

namespace stoker {

/// Tells malloc to keep what one step frees for the next. Every step allocates the same tensors;
/// left alone, glibc hands them back to the kernel and faults the pages in again (an LSTM's step took half as long
/// again).
void keep_freed_memory();
/// Hands it back, once there is no next step, and keeps no more. Whatever else was freed goes with it.
void give_back_freed_memory();

}  // namespace stoker
