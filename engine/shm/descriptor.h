#pragma once
// Passes a file descriptor over a connected Unix stream socket, as one byte with SCM_RIGHTS. Any thread, one thread per
// socket and direction; the sockets may be blocking or not. Failures throw Error(world).
#include "base/clock.h"

namespace stoker::shm {

/// The receiver gets a descriptor of its own; `fd` stays the caller's.
void send_descriptor(int socket, int fd, TimePoint deadline);
/// Returns a close-on-exec descriptor that the caller owns.
int receive_descriptor(int socket, TimePoint deadline);

}  // namespace stoker::shm
