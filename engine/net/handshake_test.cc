#include "net/handshake.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "net/socket.h"

namespace stoker::net {
namespace {

const Bytes kSecret(32, std::byte{7});
const Bytes kOther(32, std::byte{8});

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

}  // namespace

TEST(Handshake, BothEndsProveTheSecret) {
  Handshake connector(Role::connector, kSecret), listener(Role::listener, kSecret);
  EXPECT_TRUE(listener.opening().empty());
  const Bytes answer = listener.receive(connector.opening());
  const Bytes proof = connector.receive(answer);
  EXPECT_TRUE(connector.proven());
  EXPECT_FALSE(listener.proven());
  EXPECT_TRUE(listener.receive(proof).empty());
  EXPECT_TRUE(listener.proven());
}

TEST(Handshake, ConnectorFindsTheImpostor) {
  Handshake connector(Role::connector, kSecret), impostor(Role::listener, kOther);
  const Bytes answer = impostor.receive(connector.opening());
  EXPECT_EQ(failure([&] { connector.receive(answer); }), kStranger);
  EXPECT_FALSE(connector.proven());
}

TEST(Handshake, ListenerFindsTheImpostor) {
  Handshake listener(Role::listener, kSecret);
  const Handshake impostor(Role::connector, kOther);
  listener.receive(impostor.opening());
  EXPECT_EQ(failure([&] { listener.receive(Bytes(32)); }), kStranger);
  EXPECT_FALSE(listener.proven());
}

TEST(Handshake, ReplayedConversationFails) {
  Handshake connector(Role::connector, kSecret), listener(Role::listener, kSecret);
  const Bytes opening = connector.opening();
  const Bytes answer = listener.receive(opening);
  const Bytes proof = connector.receive(answer);

  Handshake again(Role::listener, kSecret);
  again.receive(opening);
  EXPECT_EQ(failure([&] { again.receive(proof); }), kStranger);
  Handshake late(Role::connector, kSecret);
  EXPECT_EQ(failure([&] { late.receive(answer); }), kStranger);
}

TEST(Handshake, ReflectedProofFails) {
  Handshake listener(Role::listener, kSecret);
  const Handshake mirror(Role::connector, kSecret);
  const Bytes answer = listener.receive(mirror.opening());
  EXPECT_EQ(failure([&] { listener.receive(ByteView(answer).last(32)); }), kStranger);
}

TEST(Handshake, ReflectedNonceFails) {
  Handshake connector(Role::connector, kSecret);
  Bytes echo = connector.opening();
  echo.resize(connector.wants());
  EXPECT_EQ(failure([&] { connector.receive(echo); }), kStranger);
}

TEST(Handshake, EachFlippedBitOfTheProofFails) {
  for (size_t bit = 0; bit < 256; bit += 17) {
    Handshake connector(Role::connector, kSecret), listener(Role::listener, kSecret);
    Bytes answer = listener.receive(connector.opening());
    answer[36 + bit / 8] ^= std::byte{1} << (bit % 8);
    EXPECT_EQ(failure([&] { connector.receive(answer); }), kStranger) << bit;
  }
}

TEST(Handshake, AnotherProtocolIsToldApart) {
  Handshake listener(Role::listener, kSecret);
  Bytes http(listener.wants(), std::byte{'G'});
  EXPECT_EQ(failure([&] { listener.receive(http); }),
            "handshake: the other side is no part of Stoker, or of another version");
}

TEST(Handshake, EmptySecretIsABug) { EXPECT_THROW(Handshake(Role::listener, {}), Error); }

TEST(HandshakeBlocking, LeavesTheNextByteOnTheSocket) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const Fd near(fds[0]), far(fds[1]);
  const auto deadline = Clock::now() + std::chrono::seconds(5);
  std::thread connector([&] {
    handshake_blocking(near.get(), Role::connector, kSecret, deadline);
    write_all(near.get(), as_bytes("x"), deadline);
  });
  handshake_blocking(far.get(), Role::listener, kSecret, deadline);
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
  EXPECT_EQ(failure([&] { handshake_blocking(far.get(), Role::listener, kSecret, soon); }), "receive: timed out");
}

}  // namespace stoker::net
