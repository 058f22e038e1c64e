#include "collective/meeting.h"

#include <algorithm>
#include <thread>

#include "base/pulse.h"
#include "net/handshake.h"
#include "net/lobby.h"
#include "net/unix.h"
#include "shm/descriptor.h"
#include "shm/segment.h"

namespace stoker::collective {
namespace {

using std::chrono::milliseconds;

/// A peer that has proven itself gets this long to say its next word.
constexpr auto kPatience = milliseconds(1000);
constexpr auto kLook = milliseconds(20);

class Meeting {
 public:
  Meeting(const Roster& roster, Listeners& listeners, std::stop_token stop)
      : roster_(roster),
        stop_(std::move(stop)),
        peers_(nobody_yet(roster)),
        lobby_({.secret = roster.secret, .purpose = purpose(), .most = most_strangers(roster)},
               {listeners.tcp_fd(), listeners.unix_fd()}) {}

  Peers run() {
    try {
      for (int r = 0; r < roster_.rank; ++r) connect(peers_[r]);
      while (const Peer* peer = missing()) accept(*peer);
    } catch (...) {
      peers_.leave(stamp(roster_.generation, 0), true);
      throw;
    }
    return std::move(peers_);
  }

 private:
  static constexpr int kUnix = 1;  // of the lobby's listeners

  /// All peers may come at once.
  static size_t most_strangers(const Roster& roster) {
    return std::max(net::LobbyOptions().most, roster.members.size());
  }

  static Peers nobody_yet(const Roster& roster) {
    std::vector<Peer> peers;
    for (const Member& member : roster.members) peers.push_back({member, {}, {}, member.rank == roster.rank});
    return Peers(std::move(peers));
  }

  /// Those whom I have met must stay. `why` this one has not come yet. Whatever else is said, only a peer that has come
  /// counts as something that moved.
  void tick(const Peer& awaited, const std::string& why) {
    pulse::beat();
    wait_.says([&] { return cat(describe(awaited.member), " to join: ", why); });
    if (stop_.stop_requested()) throw Error(ErrorKind::aborted, "stopped while the group formed");
    peers_.check({});
  }
  net::Purpose purpose(int from = 0, int to = 0) const {
    return {net::Purpose::Kind::peer, roster_.encrypted, roster_.generation, static_cast<uint32_t>(from),
            static_cast<uint32_t>(to)};
  }
  const Member& me() const { return roster_.members[roster_.rank]; }
  bool may_share(const Member& other) const { return !roster_.force_tcp && other.host_group == me().host_group; }
  static TimePoint soon() { return Clock::now() + kPatience; }
  void read(int fd, const Peer& peer, std::span<std::byte> out) {
    read_ticking(fd, out, [&] { tick(peer, "it does not answer"); });
  }

  // -- as connector

  void connect(Peer& peer) {
    for (std::string cause = "no answer";;) {
      tick(peer, cause);
      try {
        if (!may_share(peer.member) || !connect_sharing(peer)) connect_over_tcp(peer);
        return pulse::moved();
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::world) throw;
        cause = error.what();
      }
      std::this_thread::sleep_for(milliseconds(20));
    }
  }

  bool connect_sharing(Peer& peer) {
    net::Fd fd = net::connect_unix(peer.member.unix_name);
    if (!fd) return false;
    introduce(fd.get(), peer);
    const shm::Segment proof("stoker-proof", kNonceBytes);
    net::fill_random(proof.bytes());
    shm::send_descriptor(fd.get(), proof.fd(), soon());
    if (!std::ranges::equal(answer(fd.get(), peer), proof.bytes())) return false;
    net::write_all(fd.get(), {&kShared, 1}, soon());
    peer.fd = std::move(fd);
    peer.shares = true;
    return true;
  }

  void connect_over_tcp(Peer& peer) {
    net::Fd fd = net::connect_tcp(peer.member.host, peer.member.port, soon());
    introduce(fd.get(), peer);
    answer(fd.get(), peer);
    peer.fd = std::move(fd);
  }

  void introduce(int fd, Peer& peer) {
    net::Handshake handshake(net::Role::connector, roster_.secret, purpose(roster_.rank, peer.member.rank));
    net::write_all(fd, handshake.opening(), soon());
    while (!handshake.proven()) {
      Bytes message(handshake.wants());
      read(fd, peer, message);
      net::write_all(fd, handshake.receive(message), soon());
    }
    peer.seals = handshake.seals();
  }

  Bytes answer(int fd, const Peer& peer) {
    Bytes nonce(kNonceBytes);
    read(fd, peer, nonce);
    return nonce;
  }

  // -- as listener

  /// A rank that has not come yet.
  const Peer* missing() {
    for (int r = roster_.rank + 1; r < peers_.size(); ++r)
      if (!peers_[r].fd) return &peers_[r];
    return nullptr;
  }

  /// One look at those who have connected. Neither silence nor noise costs anything: it stays in the lobby.
  void accept(const Peer& missing) {
    tick(missing, "it has not connected");
    net::wait_readable(lobby_.fd(), Clock::now() + kLook);
    for (net::Guest& guest : lobby_.look(Clock::now())) welcome(guest);
  }

  /// One that knows the secret, but may be of another generation, or die here.
  void welcome(net::Guest& guest) {
    try {
      take_in(guest);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::world) throw;
    }
  }

  void take_in(net::Guest& guest) {
    const int fd = guest.fd.get();
    const bool over_unix = guest.listener == kUnix;
    Peer& peer = introduced(guest.purpose);
    net::write_all(fd, over_unix ? read_proof(fd) : Bytes(kNonceBytes), soon());
    if (over_unix) await_verdict(fd);
    peer.fd = std::move(guest.fd);
    peer.seals = std::move(guest.seals);
    peer.shares = over_unix;
    pulse::moved();
  }

  Peer& introduced(const net::Purpose& who) {
    if (who.generation != roster_.generation) fail_world("a peer of generation ", who.generation);
    if (who.to != static_cast<uint32_t>(roster_.rank) || who.from <= who.to ||
        who.from >= static_cast<uint32_t>(peers_.size()))
      fail_world("a peer that is not expected here");
    Peer& peer = peers_[who.from];
    if (peer.fd) fail_world("a second connection from ", describe(peer.member));
    return peer;
  }

  Bytes read_proof(int fd) {
    const shm::Segment proof = shm::Segment::adopt(shm::receive_descriptor(fd, soon()), kNonceBytes);
    return Bytes(proof.bytes().begin(), proof.bytes().end());
  }

  void await_verdict(int fd) {
    std::byte verdict{};
    net::read_exact(fd, {&verdict, 1}, soon());
    if (verdict != kShared) fail_world("a peer that does not share memory");
  }

  const Roster& roster_;
  const std::stop_token stop_;
  Peers peers_;
  net::Lobby lobby_;
  pulse::Wait wait_;
};

}  // namespace

Peers meet(const Roster& roster, Listeners& listeners, std::stop_token stop) {
  return Meeting(roster, listeners, std::move(stop)).run();
}

}  // namespace stoker::collective
