#include "shm/descriptor.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace stoker::shm {
namespace {

/// One byte and room for one descriptor.
struct Message {
  char byte = 'd';
  iovec vector{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  Message() {
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof(control);
  }
  Message(const Message&) = delete;
};

void wait_for(int socket, short events, TimePoint deadline) {
  pollfd one{socket, events, 0};
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  const int ready = ::poll(&one, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
  if (ready < 0 && errno != EINTR) fail_errno("poll");
  if (ready == 0) fail_world("passing a descriptor took too long");
}

/// Runs `call` until it does not ask to be tried again.
template <typename Call>
ssize_t retry(int socket, short events, TimePoint deadline, Call call) {
  for (;;) {
    const ssize_t n = call();
    if (n >= 0) return n;
    if (errno != EAGAIN && errno != EINTR) fail_errno("passing a descriptor");
    wait_for(socket, events, deadline);
  }
}

}  // namespace

void send_descriptor(int socket, int fd, TimePoint deadline) {
  Message message;
  cmsghdr* control = CMSG_FIRSTHDR(&message.header);
  control->cmsg_level = SOL_SOCKET;
  control->cmsg_type = SCM_RIGHTS;
  control->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(control), &fd, sizeof(int));
  retry(socket, POLLOUT, deadline, [&] { return ::sendmsg(socket, &message.header, MSG_NOSIGNAL | MSG_DONTWAIT); });
}

int receive_descriptor(int socket, TimePoint deadline) {
  Message message;
  const ssize_t n = retry(socket, POLLIN, deadline,
                          [&] { return ::recvmsg(socket, &message.header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT); });
  const cmsghdr* control = CMSG_FIRSTHDR(&message.header);
  if (n == 0) fail_world("the connection ended before a descriptor came");
  if (!control || control->cmsg_type != SCM_RIGHTS) fail_world("a message came without its descriptor");
  int fd;
  std::memcpy(&fd, CMSG_DATA(control), sizeof(int));
  return fd;
}

}  // namespace stoker::shm
