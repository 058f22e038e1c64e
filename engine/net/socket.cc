#include "net/socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

namespace stoker::net {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses resolve(const std::string& host, int port, int flags) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int code = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (code != 0) fail_world("find the address of ", host, ": ", gai_strerror(code));
  return {found, &freeaddrinfo};
}

Fd open_socket(const addrinfo& address) {
  Fd fd(socket(address.ai_family, address.ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address.ai_protocol));
  if (!fd) fail_errno("open a socket");
  return fd;
}

void set_option(int fd, int level, int option) {
  const int on = 1;
  setsockopt(fd, level, option, &on, sizeof on);
}

std::string endpoint(const std::string& host, int port) { return cat(host, " port ", port); }

std::string endpoint(const std::string& host, const Ports& ports) {
  return ports.last > ports.first ? cat(host, " ports ", ports.first, " to ", ports.last) : endpoint(host, ports.first);
}

int count(const addrinfo* addresses) { return addresses ? 1 + count(addresses->ai_next) : 0; }

/// Waits for one of `events`; false at the deadline.
bool wait_for(int fd, short events, TimePoint deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd entry{fd, events, 0};
    const int ready = poll(&entry, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
    if (ready > 0) return true;
    if (ready == 0 && left <= 0) return false;
    if (ready < 0 && errno != EINTR) fail_errno("wait for a socket");
  }
}

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

void await(int fd, short events, TimePoint deadline, const char* doing) {
  if (!wait_for(fd, events, deadline)) fail_world(doing, ": timed out");
}

Fd connect_one(const addrinfo& address, const std::string& doing, TimePoint deadline) {
  Fd fd = open_socket(address);
  set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY);
  if (connect(fd.get(), address.ai_addr, address.ai_addrlen) == 0) return fd;
  if (errno != EINPROGRESS) fail_errno(doing);
  await(fd.get(), POLLOUT, deadline, doing.c_str());
  socklen_t size = sizeof errno;
  getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &errno, &size);
  if (errno != 0) fail_errno(doing);
  return fd;
}

}  // namespace

void Fd::reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

Fd listen_tcp(const std::string& host, Ports ports, int backlog) {
  for (int port = ports.first;; ++port) {
    const Addresses addresses = resolve(host, port, AI_PASSIVE);
    Fd fd = open_socket(*addresses);
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR);
    const bool bound = bind(fd.get(), addresses->ai_addr, addresses->ai_addrlen) == 0;
    if (bound && listen(fd.get(), backlog) == 0) return fd;
    if (errno != EADDRINUSE || port >= ports.last) fail_errno("listen on " + endpoint(host, ports));
  }
}

int local_port(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) fail_errno("read a socket's address");
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

std::string local_address(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  char text[NI_MAXHOST];
  auto* any = reinterpret_cast<sockaddr*>(&address);
  if (getsockname(fd, any, &size) != 0) fail_errno("read a socket's address");
  const int code = getnameinfo(any, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST);
  if (code != 0) fail_world("read a socket's address: ", gai_strerror(code));
  return text;
}

Fd accept_tcp(int listener) {
  Fd fd(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (fd) {
    set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY);
  } else if (!would_block() && errno != EINTR && errno != ECONNABORTED) {
    fail_errno("accept a connection");
  }
  return fd;
}

Fd connect_tcp(const std::string& host, int port, TimePoint deadline) {
  const Addresses addresses = resolve(host, port, 0);
  return connect_first(addresses.get(), "connect to " + endpoint(host, port), deadline);
}

Fd connect_first(const addrinfo* addresses, const std::string& doing, TimePoint deadline) {
  for (const addrinfo* address = addresses;; address = address->ai_next) {
    const TimePoint now = Clock::now();
    try {
      return connect_one(*address, doing, now + (deadline - now) / count(address));
    } catch (const Error&) {
      if (address->ai_next == nullptr) throw;
    }
  }
}

bool wait_readable(int fd, TimePoint deadline) { return wait_for(fd, POLLIN, deadline); }
bool wait_writable(int fd, TimePoint deadline) { return wait_for(fd, POLLOUT, deadline); }

size_t read_some(int fd, std::span<std::byte> out) {
  const ssize_t got = recv(fd, out.data(), out.size(), MSG_DONTWAIT);
  if (got > 0) return static_cast<size_t>(got);
  if (got == 0) fail_world("receive: the other side closed the connection, ", out.size(), " bytes were missing");
  if (!would_block() && errno != EINTR) fail_errno("receive");
  return 0;
}

size_t write_some(int fd, ByteView bytes) {
  const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent >= 0) return static_cast<size_t>(sent);
  if (!would_block() && errno != EINTR) fail_errno("send");
  return 0;
}

void write_all(int fd, ByteView bytes, TimePoint deadline) {
  while (!bytes.empty()) {
    const size_t sent = write_some(fd, bytes);
    bytes = bytes.subspan(sent);
    if (sent == 0) await(fd, POLLOUT, deadline, "send");
  }
}

void read_exact(int fd, std::span<std::byte> out, TimePoint deadline) {
  while (!out.empty()) {
    const size_t got = read_some(fd, out);
    out = out.subspan(got);
    if (got == 0) await(fd, POLLIN, deadline, "receive");
  }
}

void fill_random(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got > 0) out = out.subspan(static_cast<size_t>(got));
    if (got < 0 && errno != EINTR) fail_errno("read random bytes");
  }
}

}  // namespace stoker::net
