#include "net/lobby.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

namespace stoker::net {
namespace {

const Bytes kSecret(32, std::byte{7});

TimePoint in(double s) { return Clock::now() + from_seconds(s); }

struct Place {
  explicit Place(size_t most = 256) : lobby({kSecret, {}, std::chrono::seconds(5), most}, {fd.get()}) {}
  Fd stranger(size_t bytes = 0) const {
    Fd fd = connect_tcp("127.0.0.1", port, in(5));
    write_all(fd.get(), Bytes(bytes, std::byte{'S'}), in(5));
    return fd;
  }
  /// Guests within the time, as if `later` had passed before.
  std::vector<Guest> guests(double within, double later = 0) {
    std::vector<Guest> all;
    for (const auto until = in(within); all.empty() && Clock::now() < until; wait_readable(lobby.fd(), in(0.01)))
      for (Guest& guest : lobby.look(in(later))) all.push_back(std::move(guest));
    return all;
  }
  bool ended(const Fd& stranger) {
    guests(0.05);
    std::byte byte;
    return wait_readable(stranger.get(), in(1)) && recv(stranger.get(), &byte, 1, MSG_DONTWAIT) <= 0;
  }

  Fd fd = listen_tcp("127.0.0.1");
  int port = local_port(fd.get());
  Lobby lobby;
};

/// A member's side, as far as it can speak before it is answered.
struct Member {
  explicit Member(const Place& place) : fd(place.stranger()) { write_all(fd.get(), handshake.opening(), in(5)); }
  void prove(ByteView more = {}) {
    Bytes message(handshake.wants());
    read_exact(fd.get(), message, in(5));
    write_all(fd.get(), handshake.receive(message), in(5));
    write_all(fd.get(), more, in(5));
  }
  Handshake handshake{Role::connector, kSecret, {}};
  Fd fd;
};

}  // namespace

TEST(Lobby, OneWhoProvesItselfIsAGuestAndWhatItSaysNextIsLeft) {
  Place place;
  Member member(place);
  EXPECT_TRUE(place.guests(0.05).empty());
  member.prove(as_bytes("hello"));
  const auto guests = place.guests(5);
  ASSERT_EQ(guests.size(), 1u);
  EXPECT_EQ(guests[0].purpose, Purpose{});
  Bytes rest(5);
  read_exact(guests[0].fd.get(), rest, in(5));
  EXPECT_EQ(to_string(rest), "hello");
}

TEST(Lobby, HundredsOfOneByteHoldNobodyUp) {
  Place place;
  std::vector<Fd> talkers;
  for (int i = 0; i < 200; ++i) talkers.push_back(place.stranger(1));
  Member member(place);
  const Stopwatch watch;
  for (int i = 0; i < 5; ++i) place.guests(0.02);
  member.prove();
  EXPECT_EQ(place.guests(5).size(), 1u);
  EXPECT_LT(watch.elapsed(), 1);
}

TEST(Lobby, OldestIsDroppedForANewOne) {
  Place place(2);
  const Fd first = place.stranger(1);
  place.guests(0.05);
  const Fd second = place.stranger(1), third = place.stranger(1);
  EXPECT_TRUE(place.ended(first));
  EXPECT_FALSE(wait_readable(second.get(), in(0.05)));
  EXPECT_FALSE(wait_readable(third.get(), in(0.05)));
}

TEST(Lobby, OneWhoTakesItsTimeIsDropped) {
  Place place;
  const Fd late = place.stranger(1);
  place.guests(0.05);
  place.guests(0.02, 6);
  EXPECT_TRUE(place.ended(late));
}

TEST(Lobby, AWrongProofIsTheConnectionsEnd) {
  Place place;
  Member member(place);
  place.guests(0.05);
  write_all(member.fd.get(), Bytes(32, std::byte{1}), in(5));
  EXPECT_TRUE(place.guests(0.05).empty());
  Bytes answer(88);
  read_exact(member.fd.get(), answer, in(5));
  EXPECT_TRUE(place.ended(member.fd));
}

}  // namespace stoker::net
