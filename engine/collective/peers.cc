#include "collective/peers.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/pulse.h"

namespace stoker::collective {
namespace {

/// Whether the peer has said that it leaves, when its connection has ended: frames that nobody will read may lie before
/// that.
bool says_farewell(Peer& peer, FrameHeader& header) {
  const int fd = peer.fd.get();
  int unread = 0;
  if (::ioctl(fd, FIONREAD, &unread) != 0 || unread < static_cast<int>(kHeaderBytes)) return false;
  Bytes bytes(static_cast<size_t>(unread));
  const ssize_t n = ::recv(fd, bytes.data(), bytes.size(), MSG_PEEK | MSG_DONTWAIT);
  if (n < static_cast<ssize_t>(kHeaderBytes)) return false;
  const ByteView last = ByteView(bytes).subspan(static_cast<size_t>(n) - kHeaderBytes, kHeaderBytes);
  return is_leave(last, peer.seals.in, header);
}

[[noreturn]] void fail_left(const Peer& peer) {
  if (peer.state == Peer::State::failed) throw Error(ErrorKind::aborted, describe(peer.member) + " gave up");
  fail_world(describe(peer.member), " left too early");
}

constexpr size_t kMostDescribed = 3;
constexpr auto kLook = std::chrono::milliseconds(20);

void look(const std::function<void()>& tick) {
  pulse::beat();
  tick();
}

}  // namespace

std::string describe(const Member& member) {
  return cat("rank ", member.rank, " (host ", member.host, ", pid ", member.pid, ")");
}

void Peers::ended(Peer& peer) {
  FrameHeader header;
  if (!says_farewell(peer, header)) broke_off(peer);
  left(peer, header);
}

void Peers::broke_off(const Peer& peer) {
  for (Peer& other : peers_) {
    FrameHeader header;
    if (&other != &peer && other.fd && says_farewell(other, header)) left(other, header);
  }
  fail_world(describe(peer.member), " died: its connection closed");
}

void Peers::left(Peer& peer, const FrameHeader& header) {
  peer.state = header.index == 0 ? Peer::State::done : Peer::State::failed;
  if (peer.state == Peer::State::failed) fail_left(peer);
}

void Peers::check(const std::vector<int>& awaited) {
  std::vector<pollfd> entries;
  for (const Peer& peer : peers_)
    entries.push_back({peer.state == Peer::State::here ? peer.fd.get() : -1, POLLRDHUP, 0});
  if (::poll(entries.data(), entries.size(), 0) < 0) return;  // interrupted: the next look will tell
  for (int r = 0; r < size(); ++r)
    if (entries[r].revents != 0) ended(peers_[r]);
  for (const int r : awaited)
    if (peers_[r].state != Peer::State::here) fail_left(peers_[r]);
}

void Peers::leave(Stamp stamp, bool failed) noexcept {
  const FrameHeader header{FrameKind::leave, stamp, failed ? 1u : 0u, 0};
  for (Peer& peer : peers_) {
    if (!peer.fd) continue;
    const Bytes frame = encode(header, peer.seals.out);
    (void)!::send(peer.fd.get(), frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  }
}

std::string describe_all(Peers& peers, const std::vector<int>& ranks) {
  std::string all;
  const size_t told = std::min(ranks.size(), kMostDescribed);
  for (size_t i = 0; i < told; ++i) all += cat(i == 0 ? "" : ", ", describe(peers[ranks[i]].member));
  return ranks.size() > told ? cat(all, " and ", ranks.size() - told, " more") : all;
}

void await_readable(int fd, const std::function<void()>& tick) {
  while (!net::wait_readable(fd, Clock::now() + kLook)) look(tick);
}

void await_writable(int fd, const std::function<void()>& tick) {
  while (!net::wait_writable(fd, Clock::now() + kLook)) look(tick);
}

void read_ticking(int fd, std::span<std::byte> out, const std::function<void()>& tick) {
  while (!out.empty()) {
    await_readable(fd, tick);
    out = out.subspan(net::read_some(fd, out));
  }
}

void write_ticking(int fd, ByteView bytes, const std::function<void()>& tick) {
  while (!bytes.empty()) {
    await_writable(fd, tick);
    bytes = bytes.subspan(net::write_some(fd, bytes));
  }
}

}  // namespace stoker::collective
