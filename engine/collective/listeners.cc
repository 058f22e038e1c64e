#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <array>

#include "base/hash.h"
#include "collective/group.h"
#include "net/socket.h"

namespace stoker::collective {
namespace {

std::string random_name() {
  Hash128 random;
  net::fill_random(std::as_writable_bytes(std::span(&random, 1)));
  return "stoker-" + hex(random);
}

net::Fd listen_unix(const std::string& name) {
  net::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) fail_errno("open a Unix socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(name.begin(), name.end(), address.sun_path + 1);
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) fail_errno("bind a Unix name");
  if (::listen(fd.get(), 1024) != 0) fail_errno("listen on a Unix name");
  return fd;
}

}  // namespace

struct Listeners::Impl {
  net::Fd tcp;
  int port;
  std::string unix_name;
  net::Fd unix_fd;
};

Listeners::Listeners(const std::string& bind_host) : impl_(std::make_unique<Impl>()) {
  impl_->tcp = net::listen_tcp(bind_host);
  impl_->port = net::local_port(impl_->tcp.get());
  impl_->unix_name = random_name();
  impl_->unix_fd = listen_unix(impl_->unix_name);
}

Listeners::~Listeners() = default;
int Listeners::port() const { return impl_->port; }
const std::string& Listeners::unix_name() const { return impl_->unix_name; }
int Listeners::tcp_fd() const { return impl_->tcp.get(); }
int Listeners::unix_fd() const { return impl_->unix_fd.get(); }

}  // namespace stoker::collective
