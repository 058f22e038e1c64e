#include "net/lobby.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace stoker::net {
namespace {

constexpr int kFairAccepts = 64;
constexpr auto kRest = std::chrono::milliseconds(50);  // without descriptors

}  // namespace

Lobby::Lobby(LobbyOptions options, std::vector<int> listeners)
    : options_(std::move(options)),
      listeners_(std::move(listeners)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      next_(listeners_.size()) {
  if (!epoll_) fail_errno("watch the listeners");
  STOKER_CHECK(!options_.secret.empty() && options_.most > 0);
  for (size_t i = 0; i < listeners_.size(); ++i) watch(EPOLL_CTL_ADD, listeners_[i], 0, i);
  watch_listeners(true);
}

std::vector<Guest> Lobby::look(TimePoint now) {
  while (!strangers_.empty() && now - strangers_.begin()->second.since > options_.time)
    strangers_.erase(strangers_.begin());
  if (!accepting_ && now >= resume_) watch_listeners(true);
  std::vector<Guest> guests;
  std::array<epoll_event, 64> events;
  const int n = epoll_wait(epoll_.get(), events.data(), events.size(), 0);
  for (int i = 0; i < n; ++i) {
    const uint64_t id = events[i].data.u64;
    if (id < listeners_.size()) accept(id, now);
    const auto found = strangers_.find(id);
    if (found == strangers_.end()) continue;
    Stranger& stranger = found->second;
    try {
      if (!hear(stranger)) continue;
      watch(EPOLL_CTL_DEL, stranger.fd.get(), 0, id);
      const Handshake& handshake = stranger.handshake;
      guests.push_back({std::move(stranger.fd), stranger.listener, handshake.purpose(), handshake.seals()});
    } catch (const std::exception&) {  // what a stranger says ends its connection, nothing else
    }
    strangers_.erase(found);
  }
  return guests;
}

void Lobby::accept(size_t listener, TimePoint now) {
  try {
    for (int i = 0; i < kFairAccepts; ++i) {
      Fd fd = accept_tcp(listeners_[listener]);
      if (!fd) return;
      if (strangers_.size() >= options_.most) strangers_.erase(strangers_.begin());
      const uint64_t id = next_++;
      watch(EPOLL_CTL_ADD, fd.get(), EPOLLIN, id);
      Handshake handshake(Role::listener, options_.secret, options_.purpose);
      strangers_.emplace(id, Stranger{std::move(fd), static_cast<int>(listener), now, std::move(handshake), {}});
    }
  } catch (const std::exception&) {
    make_room(now);
  }
}

/// Out of descriptors: the oldest goes, or nobody comes for a while.
void Lobby::make_room(TimePoint now) {
  if (!strangers_.empty()) {
    strangers_.erase(strangers_.begin());
    return;
  }
  resume_ = now + kRest;
  watch_listeners(false);
}

/// Takes what is there. Whether it has proven itself. Throws Error(world) when what it said was wrong, or is the
/// connection's end.
bool Lobby::hear(Stranger& stranger) {
  while (!stranger.handshake.proven()) {
    std::array<std::byte, 128> buffer;
    const size_t left = std::min(stranger.handshake.wants() - stranger.heard.size(), buffer.size());
    const ssize_t got = recv(stranger.fd.get(), buffer.data(), left, MSG_DONTWAIT);
    if (got == 0) fail_world("the connection closed");
    if (got < 0 && errno != EAGAIN && errno != EINTR) fail_errno("the connection broke");
    if (got < 0) return false;
    stranger.heard.insert(stranger.heard.end(), buffer.begin(), buffer.begin() + got);
    if (stranger.heard.size() < stranger.handshake.wants()) continue;
    const Bytes answer = stranger.handshake.receive(std::exchange(stranger.heard, {}));
    const ssize_t sent = send(stranger.fd.get(), answer.data(), answer.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent != static_cast<ssize_t>(answer.size())) fail_world("a stranger who does not read");
  }
  return true;
}

void Lobby::watch(int operation, int fd, uint32_t events, uint64_t id) const {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (epoll_ctl(epoll_.get(), operation, fd, &event) != 0) fail_errno("watch a socket");
}

void Lobby::watch_listeners(bool on) {
  for (size_t i = 0; i < listeners_.size(); ++i) watch(EPOLL_CTL_MOD, listeners_[i], on ? uint32_t{EPOLLIN} : 0, i);
  accepting_ = on;
}

}  // namespace stoker::net
