#include "net/handshake.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "net/socket.h"

namespace stoker::net {
namespace {

const Bytes kSecret(32, std::byte{7});
const Bytes kOther(32, std::byte{8});
const Purpose kPurpose{.kind = Purpose::Kind::peer, .generation = 7, .from = 2, .to = 1};

std::string failure(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::world);
    return error.what();
  }
  return "none";
}

const char* const kStranger = "handshake: the other side does not know this fit's secret";

/// Both ends of a link that meant this.
std::pair<Seals, Seals> seals_of(const Purpose& purpose) {
  Handshake connector(Role::connector, kSecret, purpose), listener(Role::listener, kSecret, purpose);
  listener.receive(connector.receive(listener.receive(connector.opening())));
  return {connector.seals(), listener.seals()};
}

}  // namespace

TEST(Handshake, BothEndsProveTheSecret) {
  Handshake connector(Role::connector, kSecret, kPurpose), listener(Role::listener, kSecret, kPurpose);
  EXPECT_TRUE(listener.opening().empty());
  const Bytes answer = listener.receive(connector.opening());
  const Bytes proof = connector.receive(answer);
  EXPECT_TRUE(connector.proven());
  EXPECT_FALSE(listener.proven());
  EXPECT_TRUE(listener.receive(proof).empty());
  EXPECT_TRUE(listener.proven());
}

TEST(Handshake, ConnectorFindsTheImpostor) {
  Handshake connector(Role::connector, kSecret, kPurpose), impostor(Role::listener, kOther, kPurpose);
  const Bytes answer = impostor.receive(connector.opening());
  EXPECT_EQ(failure([&] { connector.receive(answer); }), kStranger);
  EXPECT_FALSE(connector.proven());
}

TEST(Handshake, ListenerFindsTheImpostor) {
  Handshake listener(Role::listener, kSecret, kPurpose);
  const Handshake impostor(Role::connector, kOther, kPurpose);
  listener.receive(impostor.opening());
  EXPECT_EQ(failure([&] { listener.receive(Bytes(32)); }), kStranger);
  EXPECT_FALSE(listener.proven());
}

TEST(Handshake, ReplayedConversationFails) {
  Handshake connector(Role::connector, kSecret, kPurpose), listener(Role::listener, kSecret, kPurpose);
  const Bytes opening = connector.opening();
  const Bytes answer = listener.receive(opening);
  const Bytes proof = connector.receive(answer);

  Handshake again(Role::listener, kSecret, kPurpose);
  again.receive(opening);
  EXPECT_EQ(failure([&] { again.receive(proof); }), kStranger);
  Handshake late(Role::connector, kSecret, kPurpose);
  EXPECT_EQ(failure([&] { late.receive(answer); }), kStranger);
}

TEST(Handshake, ReflectedProofFails) {
  Handshake listener(Role::listener, kSecret, kPurpose);
  const Handshake mirror(Role::connector, kSecret, kPurpose);
  const Bytes answer = listener.receive(mirror.opening());
  EXPECT_EQ(failure([&] { listener.receive(ByteView(answer).last(32)); }), kStranger);
}

TEST(Handshake, ReflectedNonceFails) {
  Handshake connector(Role::connector, kSecret, kPurpose);
  Bytes echo = connector.opening();
  echo.resize(connector.wants());
  EXPECT_EQ(failure([&] { connector.receive(echo); }), kStranger);
}

TEST(Handshake, EachFlippedBitOfTheProofFails) {
  for (size_t bit = 0; bit < 256; bit += 17) {
    Handshake connector(Role::connector, kSecret, kPurpose), listener(Role::listener, kSecret, kPurpose);
    Bytes answer = listener.receive(connector.opening());
    answer[56 + bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_EQ(failure([&] { connector.receive(answer); }), kStranger) << bit;
  }
}

TEST(Handshake, AnotherProtocolIsToldApart) {
  Handshake listener(Role::listener, kSecret, kPurpose);
  Bytes http(listener.wants(), std::byte{'G'});
  EXPECT_EQ(failure([&] { listener.receive(http); }),
            "handshake: the other side is no part of Stoker, or of another version");
}

TEST(Handshake, EmptySecretIsABug) { EXPECT_THROW(Handshake(Role::listener, {}, kPurpose), Error); }

TEST(Handshake, TheListenerLearnsWhoConnects) {
  Handshake connector(Role::connector, kSecret, kPurpose);
  Handshake listener(Role::listener, kSecret, {.kind = Purpose::Kind::peer, .generation = 9});
  listener.receive(connector.receive(listener.receive(connector.opening())));
  EXPECT_EQ(listener.purpose(), kPurpose);
}

TEST(Handshake, AProofForOnePurposeIsWorthNothingForAnother) {
  const Purpose control, wanted[] = {{.kind = Purpose::Kind::peer}, {.encrypted = true}};
  const char* const words[] = {
      "handshake: the other side means a link for something else",
      "handshake: one side wants to encrypt and the other does not (spark.stoker.network.encrypt)"};
  for (size_t i = 0; i < 2; ++i) {
    Handshake connector(Role::connector, kSecret, control), listener(Role::listener, kSecret, wanted[i]);
    Bytes answer = listener.receive(connector.opening());
    EXPECT_EQ(failure([&] { connector.receive(answer); }), words[i]);
    std::ranges::copy(encode(control), answer.begin() + 4);  // someone in between would have it fit
    Handshake deceived = connector;
    EXPECT_EQ(failure([&] { deceived.receive(answer); }), kStranger);
  }
}

TEST(Handshake, AnotherPairOfRanksIsAnotherLink) {
  for (const Purpose& other :
       {Purpose{Purpose::Kind::peer, false, 8, 2, 1}, Purpose{Purpose::Kind::peer, false, 7, 3, 1},
        Purpose{Purpose::Kind::peer, false, 7, 2, 0}}) {
    Handshake connector(Role::connector, kSecret, kPurpose), listener(Role::listener, kSecret, kPurpose);
    Bytes opening = connector.opening();
    std::ranges::copy(encode(other), opening.begin() + 4);  // on its way to the listener
    Bytes answer = listener.receive(opening);
    std::ranges::copy(encode(kPurpose), answer.begin() + 4);  // and back
    EXPECT_EQ(failure([&] { connector.receive(answer); }), kStranger);
  }
}

TEST(Handshake, KeysOfTheTwoEndsFitAndThoseOfTheTwoDirectionsDiffer) {
  auto [a, b] = seals_of(kPurpose);
  const Tag there = a.out.tag_of(as_bytes("word")), back = b.out.tag_of(as_bytes("word"));
  EXPECT_NE(there, back);
  EXPECT_FALSE(a.in.fits(as_bytes("word"), there)) << "reflected";
  EXPECT_TRUE(b.in.fits(as_bytes("word"), there));
  auto [c, d] = seals_of(kPurpose);
  EXPECT_FALSE(d.in.fits(as_bytes("word"), there)) << "of another link";
}

TEST(HandshakeBlocking, LeavesTheNextByteOnTheSocket) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const Fd near(fds[0]), far(fds[1]);
  const auto deadline = Clock::now() + std::chrono::seconds(5);
  std::thread connector([&] {
    handshake_blocking(near.get(), Role::connector, kSecret, kPurpose, deadline);
    write_all(near.get(), as_bytes("x"), deadline);
  });
  handshake_blocking(far.get(), Role::listener, kSecret, kPurpose, deadline);
  Bytes next(1);
  read_exact(far.get(), next, deadline);
  connector.join();
  EXPECT_EQ(next[0], std::byte{'x'});
}

TEST(HandshakeBlocking, SilentPeerEndsAtTheDeadline) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const Fd near(fds[0]), far(fds[1]);
  const auto soon = Clock::now() + std::chrono::milliseconds(50);
  EXPECT_EQ(failure([&] { handshake_blocking(far.get(), Role::listener, kSecret, kPurpose, soon); }),
            "receive: timed out");
}

}  // namespace stoker::net
