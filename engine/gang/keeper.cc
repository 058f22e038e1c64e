#include "gang/keeper.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"

namespace stoker::gang {

net::Fd open_held(const Held& held) {
  net::Fd fd(::open(cat("/proc/", held.pid, "/fd/", held.fd).c_str(), O_RDWR | O_CLOEXEC));
  struct stat info {};
  Hash128 nonce;
  if (!fd || ::fstat(fd.get(), &info) != 0 || static_cast<uint64_t>(info.st_size) != held.bytes) return {};
  if (::pread(fd.get(), &nonce, sizeof(nonce), 0) != sizeof(nonce) || nonce != held.nonce) return {};
  return fd;
}

/// The worker's own number may be one of another pid namespace, so the name tells which process it is.
void Keeper::take(const std::string& unix_name, Held offered, uint64_t generation) {
  offered.pid = unix_name.empty() ? 0 : net::pid_behind(unix_name);
  if (offered.pid <= 0) return;
  net::Fd fd = open_held(offered);
  if (!fd) return;
  fd_ = std::move(fd);
  held_ = offered;
  held_.pid = ::getpid();
  held_.fd = fd_.get();
  generation_ = generation;
  kept_ = {};
  state_ = Bytes();  // {} would keep its memory
}

void Keeper::take(const Kept& kept, Bytes state) {
  release();
  kept_ = kept;
  state_ = std::move(state);
}

uint64_t Keeper::commit() const {
  uint64_t commit = 0;
  if (!holds()) return kept_.commit;
  return ::pread(fd_.get(), &commit, sizeof(commit), sizeof(Hash128)) == sizeof(commit) ? commit : 0;
}

void Keeper::fence(const std::string& unix_name) {
  if (!holds()) return;
  net::ProcessEnd end(unix_name);
  if (end.is_proven()) return;
  if (!end.may_come()) return release();
  fenced_.push_back(std::move(end));
}

bool Keeper::is_fenced() {
  std::erase_if(fenced_, [](const net::ProcessEnd& end) { return end.is_proven(); });
  if (fenced_.empty()) waited_since_.reset();
  return fenced_.empty();
}

bool Keeper::may_begin(TimePoint now) {
  if (is_fenced()) return true;
  if (!waited_since_) waited_since_ = now;
  if (now - *waited_since_ < kEndTime) return false;
  release();
  return true;
}

void Keeper::release() {
  fd_.reset();
  held_ = {};
  fenced_.clear();
  waited_since_.reset();
}

}  // namespace stoker::gang
