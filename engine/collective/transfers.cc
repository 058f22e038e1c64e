#include "collective/transfers.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <numeric>

#include "base/fault.h"
#include "base/pulse.h"

namespace stoker::collective {
namespace {

bool is_transient(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

/// Sealed and sent, or received and opened, at a time: what fits a core's cache.
constexpr size_t kSealed = 256 << 10;
constexpr size_t kMostParts = 32;
constexpr std::chrono::milliseconds kLook(20);

/// As much of these places as one call moves.
template <typename Places>
size_t gather(const Places& places, size_t from, std::array<iovec, kMostParts>& out) {
  size_t n = 0, left = kSealed + kHeaderBytes + net::kTagBytes;
  for (size_t i = from; i < places.size() && n < kMostParts && left > 0; ++i) {
    const size_t bytes = std::min(left, places[i].size());
    out[n++] = {const_cast<std::byte*>(places[i].data()), bytes};
    left -= bytes;
  }
  return n;
}

}  // namespace

void Transfers::send(int rank, const FrameHeader& header, const std::vector<ByteView>& payload, Ready ready) {
  Outgoing frame{header};
  frame.may_go = std::move(ready);
  size_t bytes = 0;
  for (const ByteView part : payload) {
    if (!part.empty()) frame.payload.push_back(part);
    bytes += part.size();
  }
  STOKER_CHECK(bytes == header.bytes);
  ways_[rank].out.push_back(std::move(frame));
}

void Transfers::receive(int rank, const FrameHeader& header, const std::vector<std::span<std::byte>>& payload,
                        size_t* came) {
  Incoming& frame = ways_[rank].in.emplace_back(Incoming{header});
  frame.came = came;
  frame.parts.push_back(frame.head);
  size_t bytes = 0;
  for (const auto part : payload) {
    if (!part.empty()) frame.parts.push_back(part);
    bytes += part.size();
  }
  if (bytes > 0) frame.parts.push_back(frame.tag);
  STOKER_CHECK(bytes == header.bytes);
}

/// Asks for the next part of the payload, once.
bool Transfers::may_go_on(Outgoing& frame) {
  if (!frame.may_go || frame.asked > frame.next) return true;
  frame.stalled = !frame.may_go(frame.next);
  if (!frame.stalled) ++frame.asked;
  return !frame.stalled;
}

/// The next piece of the frame, with what stands before and after it; nothing where it may not go yet.
void Transfers::seal_more(net::Seal& seal, Outgoing& frame) {
  frame.ready.clear();
  if (frame.head.empty()) {
    if (!frame.payload.empty() && !may_go_on(frame)) return;  // it is not begun
    frame.head = encode(frame.header, seal);
    fault::frame("peer", frame.head);
    frame.sealed = frame.payload.empty() || frame.head.empty();
    frame.ready.push_back(frame.head);
    if (frame.sealed) return;
    seal.begin();
  }
  const bool is_first = frame.next == 0 && frame.at == 0;
  const size_t before = frame.ready.size();
  seal_piece(seal, frame);
  if (fault::kPossible && fault::armed && is_first && frame.ready.size() > before) spoil(frame, frame.ready[before]);
  if (frame.next < frame.payload.size()) return;
  frame.tag = seal.tag();
  frame.ready.push_back(frame.tag);
  frame.sealed = true;
}

void Transfers::seal_piece(net::Seal& seal, Outgoing& frame) {
  if (seal.encrypts()) frame.hidden.resize(std::min<size_t>(kSealed, frame.header.bytes));
  for (size_t done = 0; done < kSealed && frame.next < frame.payload.size() && may_go_on(frame);) {
    const ByteView part = frame.payload[frame.next];
    const ByteView piece = part.subspan(frame.at, std::min(part.size() - frame.at, kSealed - done));
    if (seal.encrypts()) seal.turn(piece, frame.hidden.data() + done);
    if (!seal.encrypts()) seal.cover(piece);
    frame.ready.push_back(seal.encrypts() ? ByteView(frame.hidden).subspan(done, piece.size()) : piece);
    done += piece.size();
    frame.at += piece.size();
    if (frame.at < part.size()) continue;
    ++frame.next;
    frame.at = 0;
  }
}

/// On order of the laboratory. The memory that is sent from stays as it is.
void Transfers::spoil(Outgoing& frame, ByteView& piece) {
  frame.spoilt.assign(piece.begin(), piece.end());
  fault::frame("payload", frame.spoilt);
  if (!frame.spoilt.empty()) piece = frame.spoilt;
}

void Transfers::advance(Outgoing& frame, size_t bytes) {
  frame.begun = frame.begun || bytes > 0;
  auto part = frame.ready.begin();
  for (; part != frame.ready.end() && bytes >= part->size(); ++part) bytes -= part->size();
  frame.ready.erase(frame.ready.begin(), part);
  if (bytes > 0) frame.ready.front() = frame.ready.front().subspan(bytes);
}

bool Transfers::idle() const {
  return std::ranges::all_of(ways_, [](const Way& way) { return way.out.empty() && way.in.empty(); });
}

bool Transfers::write_some(int rank) {
  auto& out = ways_[rank].out;
  Peer& peer = peers_[rank];
  bool moved = false;
  while (!out.empty()) {
    Outgoing& frame = out.front();
    if (frame.ready.empty()) seal_more(peer.seals.out, frame);
    if (frame.ready.empty()) return moved;
    std::array<iovec, kMostParts> parts;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = gather(frame.ready, 0, parts);
    const ssize_t n = ::sendmsg(peer.fd.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && is_transient(errno)) return moved;
    if (n < 0) {
      peers_.ended(peer);
      peers_.check({rank});
    }
    moved = true;
    bytes_sent_ += static_cast<uint64_t>(n);
    advance(frame, static_cast<size_t>(n));
    if (frame.ready.empty() && frame.sealed) out.pop_front();
  }
  return moved;
}

bool Transfers::read_some(int rank) {
  auto& in = ways_[rank].in;
  Peer& peer = peers_[rank];
  bool moved = false;
  while (!in.empty()) {
    Incoming& frame = in.front();
    std::array<iovec, kMostParts> parts;
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = gather(frame.parts, frame.next, parts);
    const ssize_t n = ::recvmsg(peer.fd.get(), &message, MSG_DONTWAIT);
    if (n < 0 && is_transient(errno)) return moved;
    if (n <= 0) peers_.broke_off(peer);
    moved = true;
    take_in(rank, frame, static_cast<size_t>(n));
    if (frame.complete()) in.pop_front();
  }
  return moved;
}

/// What has just come to where the frame goes on.
void Transfers::take_in(int rank, Incoming& frame, size_t bytes) {
  while (bytes > 0) {
    auto& part = frame.parts[frame.next];
    const auto came = part.first(std::min(bytes, part.size()));
    const bool of_payload = frame.next > 0 && frame.next + 1 < frame.parts.size();
    if (of_payload) peers_[rank].seals.in.pass(came);
    bytes -= came.size();
    part = part.subspan(came.size());
    if (part.empty()) end_part(rank, frame);
  }
}

void Transfers::end_part(int rank, Incoming& frame) {
  ++frame.next;
  if (frame.next == 1) check_head(rank, frame);
  if (frame.next == 1 && !frame.complete()) peers_[rank].seals.in.begin();
  if (frame.next > 1 && frame.complete()) check_tag(rank, frame);
  if (frame.next > 1 && frame.came) ++*frame.came;
}

void Transfers::check_head(int rank, const Incoming& frame) {
  const FrameHeader came = decode_header(frame.head, peers_[rank].seals.in);
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

void Transfers::check_tag(int rank, const Incoming& frame) {
  if (peers_[rank].seals.in.fits(frame.tag)) return;
  fail_world("a frame of ", describe(peers_[rank].member), " is not what was sent, it was spoilt or forged: step ",
             step_of(frame.header.stamp), ", kind ", static_cast<int>(frame.header.kind), ", slice ",
             frame.header.index);
}

/// Waits up to 20 ms for something to move, and moves it.
bool Transfers::move(int wake_fd) {
  const std::vector<int> watched = peers_to_watch();
  std::vector<pollfd> entries;
  for (const int r : watched) {
    const bool here = peers_[r].state == Peer::State::here;
    const auto& [out, in] = ways_[r];
    const int events = POLLRDHUP | (in.empty() ? 0 : POLLIN) | (out.empty() || out.front().waits() ? 0 : POLLOUT);
    entries.push_back({here ? peers_[r].fd.get() : -1, static_cast<short>(events), 0});
  }
  entries.push_back({wake_fd, POLLIN, 0});
  if (::poll(entries.data(), entries.size(), kLook.count()) < 0 && errno != EINTR) fail_errno("poll");
  bool moved = false;
  for (size_t i = 0; i < watched.size(); ++i) {
    const int r = watched[i], happened = entries[i].revents;
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
    const bool went_on = try_stalled();
    if (move(wake_fd) || went_on) pulse::moved();
    wait.says([&] { return "bytes from or to " + describe_all(peers_, peers_at_hand()); });
  }
}

bool Transfers::try_stalled() {
  bool moved = false;
  for (int r = 0; r < peers_.size(); ++r)
    if (!ways_[r].out.empty() && ways_[r].out.front().waits()) moved = write_some(r) || moved;
  return moved;
}

/// Those to whom or from whom something is on its way.
std::vector<int> Transfers::peers_at_hand() const {
  std::vector<int> ranks;
  for (size_t r = 0; r < ways_.size(); ++r)
    if (!ways_[r].in.empty() || !ways_[r].out.empty()) ranks.push_back(static_cast<int>(r));
  return ranks;
}

/// The others can only have ended, so they are looked at now and then: of a thousand few are at hand at a time.
std::vector<int> Transfers::peers_to_watch() {
  const TimePoint now = Clock::now();
  if (now < next_look_) return peers_at_hand();
  next_look_ = now + kLook;
  std::vector<int> all(ways_.size());
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace stoker::collective
