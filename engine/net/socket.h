#pragma once
// TCP sockets with deadlines. Free functions; any thread, one thread per descriptor and direction. Every descriptor
// that comes from here is non-blocking and close-on-exec; TCP ones send at once (TCP_NODELAY). write_all and read_exact
// also work on blocking descriptors and on Unix stream sockets. Failures throw Error(world).
#include <span>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/codec.h"

struct addrinfo;

namespace stoker::net {

/// Owns one file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

/// The ports that a listener may take; 0: any free one.
struct Ports {
  int first = 0;
  int last = 0;
};
/// Listens on an address of this host, at the first port that is free there (see local_port).
Fd listen_tcp(const std::string& host, Ports ports = {}, int backlog = 1024);
int local_port(int fd);
/// The number of this end's address.
std::string local_address(int fd);
/// The next waiting connection, or an empty Fd when there is none.
Fd accept_tcp(int listener);
/// Where a name has several addresses, each gets its share of the time.
Fd connect_tcp(const std::string& host, int port, TimePoint deadline);
Fd connect_first(const addrinfo* addresses, const std::string& doing, TimePoint deadline);

/// Waits until `fd` can be read (or has ended), or written to; false at the deadline.
bool wait_readable(int fd, TimePoint deadline);
bool wait_writable(int fd, TimePoint deadline);
/// What can be read or written at once: how many bytes, 0 for none. A connection that has ended is an error.
size_t read_some(int fd, std::span<std::byte> out);
size_t write_some(int fd, ByteView bytes);
void write_all(int fd, ByteView bytes, TimePoint deadline);
/// Fills `out`. A connection that ends before is an error.
void read_exact(int fd, std::span<std::byte> out, TimePoint deadline);

/// Random bytes fit for secrets.
void fill_random(std::span<std::byte> out);

}  // namespace stoker::net
