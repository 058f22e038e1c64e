#include "collective/transfers.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/fault.h"
#include "base/pulse.h"

namespace stoker::collective {
namespace {

bool is_transient(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

}  // namespace

/// Takes in what has just come to where the frame goes on.
void Transfers::Frame::absorb(size_t bytes) {
  for (size_t i = next; bytes > 0; ++i) {
    const size_t n = std::min(bytes, parts[i].iov_len);
    if (i > 0) arrived.add({static_cast<const std::byte*>(parts[i].iov_base), n});
    bytes -= n;
  }
}

void Transfers::Frame::advance(size_t bytes) {
  begun = begun || bytes > 0;
  // Parts without bytes are passed by as well.
  for (; next < parts.size() && bytes >= parts[next].iov_len; ++next) bytes -= parts[next].iov_len;
  if (bytes == 0) return;
  parts[next].iov_base = static_cast<char*>(parts[next].iov_base) + bytes;
  parts[next].iov_len -= bytes;
}

msghdr Transfers::Frame::message() {
  constexpr size_t kMostParts = 64;
  msghdr m{};
  m.msg_iov = parts.data() + next;
  m.msg_iovlen = std::min(parts.size() - next, kMostParts);
  return m;
}

Transfers::Frame Transfers::make(const FrameHeader& header, Bytes head) {
  Frame frame{header, std::move(head), {}};
  frame.parts.push_back({frame.head.data(), frame.head.size()});
  return frame;
}

void Transfers::send(int rank, const FrameHeader& header, const std::vector<ByteView>& payload) {
  Checksum sum;
  size_t bytes = 0;
  for (const ByteView part : payload) {
    sum.add(part);
    bytes += part.size();
  }
  STOKER_CHECK(bytes == header.bytes);
  Bytes head = encode(header, sum.value());
  fault::frame("peer", head);
  if (head.empty()) return;
  Frame frame = make(header, std::move(head));
  for (const ByteView part : payload) frame.parts.push_back({const_cast<std::byte*>(part.data()), part.size()});
  if (fault::kPossible && fault::armed) spoil(frame);
  ways_[rank].out.push_back(std::move(frame));
}

void Transfers::receive(int rank, const FrameHeader& header, const std::vector<std::span<std::byte>>& payload) {
  Frame frame = make(header, Bytes(kHeaderBytes));
  size_t bytes = 0;
  for (const auto part : payload) {
    frame.parts.push_back({part.data(), part.size()});
    bytes += part.size();
  }
  STOKER_CHECK(bytes == header.bytes);
  ways_[rank].in.push_back(std::move(frame));
}

/// On order of the laboratory. The memory that is sent from stays as it is.
void Transfers::spoil(Frame& frame) {
  iovec& first = frame.parts[1];
  const auto* data = static_cast<const std::byte*>(first.iov_base);
  frame.spoilt.assign(data, data + first.iov_len);
  fault::frame("payload", frame.spoilt);
  if (!frame.spoilt.empty()) first.iov_base = frame.spoilt.data();
}

int Transfers::awaited(FrameKind kind) const {
  int n = 0;
  for (const Way& way : ways_)
    n += static_cast<int>(std::ranges::count_if(way.in, [kind](const Frame& f) { return f.header.kind == kind; }));
  return n;
}

bool Transfers::idle() const {
  return std::ranges::all_of(ways_, [](const Way& way) { return way.out.empty() && way.in.empty(); });
}

bool Transfers::write_some(int rank) {
  auto& out = ways_[rank].out;
  Peer& peer = peers_[rank];
  bool moved = false;
  while (!out.empty()) {
    const msghdr message = out.front().message();
    const ssize_t n = ::sendmsg(peer.fd.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && is_transient(errno)) return moved;
    if (n < 0) {
      peers_.ended(peer);
      peers_.check({rank});
    }
    moved = true;
    bytes_sent_ += static_cast<uint64_t>(n);
    out.front().advance(static_cast<size_t>(n));
    if (out.front().complete()) out.pop_front();
  }
  return moved;
}

bool Transfers::read_some(int rank) {
  auto& in = ways_[rank].in;
  Peer& peer = peers_[rank];
  bool moved = false;
  while (!in.empty()) {
    Frame& frame = in.front();
    msghdr message = frame.message();
    const ssize_t n = ::recvmsg(peer.fd.get(), &message, MSG_DONTWAIT);
    if (n < 0 && is_transient(errno)) return moved;
    if (n <= 0) peers_.broke_off(peer);
    moved = true;
    frame.absorb(static_cast<size_t>(n));
    frame.advance(static_cast<size_t>(n));
    check_head(rank, frame);
    if (!frame.complete()) continue;
    check_payload(rank, frame);
    in.pop_front();
  }
  return moved;
}

void Transfers::check_head(int rank, Frame& frame) {
  if (frame.checked || !frame.has_head()) return;
  frame.checked = true;
  const FrameHeader came = decode_header(frame.head);
  if (came == frame.header) return;
  if (came.kind == FrameKind::leave) {
    peers_.left(peers_[rank], came);
    peers_.check({rank});
  }
  fail_world(describe(peers_[rank].member), " sent a frame of generation ", generation_of(came.stamp), ", step ",
             step_of(came.stamp), ", kind ", static_cast<int>(came.kind), ", slice ", came.index, ", ", came.bytes,
             " bytes instead of generation ", generation_of(frame.header.stamp), ", step ", step_of(frame.header.stamp),
             ", kind ", static_cast<int>(frame.header.kind), ", slice ", frame.header.index, ", ", frame.header.bytes,
             " bytes");
}

/// TCP's own checksum misses what happens in hosts and one in 65,536 faults on the way.
void Transfers::check_payload(int rank, const Frame& frame) const {
  if (arrived_whole(frame.head, frame.arrived.value())) return;
  fail_world("a frame of ", describe(peers_[rank].member), " arrived damaged: step ", step_of(frame.header.stamp),
             ", kind ", static_cast<int>(frame.header.kind), ", slice ", frame.header.index);
}

/// Waits up to 20 ms for something to move, and moves it.
bool Transfers::move(int wake_fd) {
  std::vector<pollfd> entries;
  for (int r = 0; r < peers_.size(); ++r) {
    const bool here = peers_[r].state == Peer::State::here;
    const int events = POLLRDHUP | (ways_[r].in.empty() ? 0 : POLLIN) | (ways_[r].out.empty() ? 0 : POLLOUT);
    entries.push_back({here ? peers_[r].fd.get() : -1, static_cast<short>(events), 0});
  }
  entries.push_back({wake_fd, POLLIN, 0});
  if (::poll(entries.data(), entries.size(), 20) < 0 && errno != EINTR) fail_errno("poll");
  bool moved = false;
  for (int r = 0; r < peers_.size(); ++r) {
    const int happened = entries[r].revents;
    if (happened & POLLOUT) moved = write_some(r) || moved;
    if (!ways_[r].in.empty() && happened != 0)
      moved = read_some(r) || moved;
    else if (happened & (POLLRDHUP | POLLHUP | POLLERR))
      peers_.ended(peers_[r]);
  }
  return moved;
}

void Transfers::run(const std::function<bool()>& done, int wake_fd, const std::function<void()>& tick) {
  for (int r = 0; r < peers_.size(); ++r)
    if (!ways_[r].out.empty()) write_some(r);
  pulse::Wait wait;
  while (!done()) {
    tick();
    pulse::beat();
    if (move(wake_fd)) pulse::moved();
    wait.says([&] { return "bytes from or to " + describe_all(peers_, peers_at_hand()); });
  }
}

/// Those to whom or from whom something is on its way.
std::vector<int> Transfers::peers_at_hand() const {
  std::vector<int> ranks;
  for (size_t r = 0; r < ways_.size(); ++r)
    if (!ways_[r].in.empty() || !ways_[r].out.empty()) ranks.push_back(static_cast<int>(r));
  return ranks;
}

}  // namespace stoker::collective
