#include "base/hash.h"
#include "collective/group.h"
#include "net/socket.h"
#include "net/unix.h"

namespace stoker::collective {
namespace {

std::string random_name() {
  Hash128 random;
  net::fill_random(std::as_writable_bytes(std::span(&random, 1)));
  return "stoker-" + hex(random);
}

}  // namespace

struct Listeners::Impl {
  net::Fd tcp;
  int port;
  std::string unix_name;
  net::Fd unix_fd;
};

Listeners::Listeners(const std::string& bind_host, net::Ports ports) : impl_(std::make_unique<Impl>()) {
  impl_->tcp = net::listen_tcp(bind_host, ports);
  impl_->port = net::local_port(impl_->tcp.get());
  impl_->unix_name = random_name();
  impl_->unix_fd = net::listen_unix(impl_->unix_name);
}

Listeners::~Listeners() = default;
int Listeners::port() const { return impl_->port; }
const std::string& Listeners::unix_name() const { return impl_->unix_name; }
int Listeners::tcp_fd() const { return impl_->tcp.get(); }
int Listeners::unix_fd() const { return impl_->unix_fd.get(); }

}  // namespace stoker::collective
