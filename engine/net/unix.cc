#include "net/unix.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "base/error.h"

namespace stoker::net {
namespace {

/// An abstract name as bind() and connect() take it.
struct Address {
  explicit Address(const std::string& name) {
    un.sun_family = AF_UNIX;
    if (name.size() + 1 > sizeof(un.sun_path)) fail_world("the Unix name is too long");
    std::copy(name.begin(), name.end(), un.sun_path + 1);
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&un); }

  sockaddr_un un{};
  socklen_t length = 0;
};

/// Connects; errno tells why not.
bool connects(int fd, const std::string& name) {
  const Address address(name);
  return ::connect(fd, address.get(), address.length) == 0;
}

Fd unix_socket() {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) fail_errno("open a Unix socket");
  return fd;
}

int64_t peer_pid(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

bool nobody_listens(const std::string& name) {
  const Fd fd = unix_socket();
  return !connects(fd.get(), name) && errno == ECONNREFUSED;
}

/// A descriptor that stands for the process behind the name, whatever becomes of its number.
Fd process_behind(const std::string& name) {
  const int64_t pid = pid_behind(name);
  if (pid <= 0 || pid == ::getpid()) return {};
  Fd process(static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0)));
  return pid_behind(name) == pid ? std::move(process) : Fd();
}

bool has_ended(int process, Duration patience) {
  pollfd entry{process, POLLIN, 0};
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(patience).count();
  return ::poll(&entry, 1, static_cast<int>(milliseconds)) == 1;
}

}  // namespace

Fd listen_unix(const std::string& name) {
  Fd fd = unix_socket();
  const Address address(name);
  if (::bind(fd.get(), address.get(), address.length) != 0) fail_errno("bind a Unix name");
  if (::listen(fd.get(), 1024) != 0) fail_errno("listen on a Unix name");
  return fd;
}

Fd connect_unix(const std::string& name) {
  Fd fd = unix_socket();
  if (!connects(fd.get(), name)) fd.reset();
  return fd;
}

int64_t pid_behind(const std::string& name) {
  const Fd fd = connect_unix(name);
  return fd ? peer_pid(fd.get()) : 0;
}

ProcessEnd::ProcessEnd(std::string name) : name_(std::move(name)), process_(process_behind(name_)) {
  if (process_) ::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0);
}

bool ProcessEnd::is_proven(Duration patience) const {
  return process_ ? has_ended(process_.get(), patience) : nobody_listens(name_);
}

}  // namespace stoker::net
