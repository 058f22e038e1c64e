#include "net/socket.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

namespace stoker::net {
namespace {

TimePoint in(double s) { return Clock::now() + from_seconds(s); }

struct Pair {
  Fd listener = listen_tcp("127.0.0.1");
  Fd near = connect_tcp("127.0.0.1", local_port(listener.get()), in(5));
  Fd far = accept();
  Fd accept() {
    EXPECT_TRUE(wait_readable(listener.get(), in(5)));
    return accept_tcp(listener.get());
  }
};

}  // namespace

TEST(Socket, MoreThanTheBuffersHoldArrivesWhole) {
  Pair pair;
  Bytes sent(8 << 20), got(sent.size());
  fill_random(sent);
  std::thread writer([&] { write_all(pair.near.get(), sent, in(20)); });
  read_exact(pair.far.get(), got, in(20));
  writer.join();
  EXPECT_EQ(sent, got);
}

TEST(Socket, NothingIsSentAndReadAtOnce) {
  Pair pair;
  write_all(pair.near.get(), {}, in(-1));
  read_exact(pair.far.get(), {}, in(-1));
}

TEST(Socket, SilentPeerEndsAtTheDeadline) {
  Pair pair;
  Bytes byte(1);
  const Stopwatch watch;
  EXPECT_THROW(read_exact(pair.far.get(), byte, in(0.05)), Error);
  EXPECT_GE(watch.elapsed(), 0.05);
  EXPECT_FALSE(wait_readable(pair.far.get(), in(0.01)));
}

TEST(Socket, PeerThatReadsNothingEndsAtTheDeadline) {
  Pair pair;
  EXPECT_THROW(write_all(pair.near.get(), Bytes(64 << 20), in(0.1)), Error);
}

TEST(Socket, ConnectionThatEndsTooEarlySaysHowMuchWasMissing) {
  Pair pair;
  write_all(pair.near.get(), Bytes(3), in(5));
  pair.near.reset();
  Bytes five(5);
  try {
    read_exact(pair.far.get(), five, in(5));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("2 bytes were missing"), std::string::npos) << error.what();
  }
}

TEST(Socket, NobodyListensSaysWhereAndWhy) {
  const int port = local_port(listen_tcp("127.0.0.1").get());
  try {
    connect_tcp("127.0.0.1", port, in(5));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::world);
    EXPECT_NE(std::string(error.what()).find(cat("connect to 127.0.0.1 port ", port, ": Connection refused")),
              std::string::npos)
        << error.what();
  }
}

TEST(Socket, BlockingSocketsWorkToo) {
  int fds[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  const Fd near(fds[0]), far(fds[1]);
  Bytes one(1);
  EXPECT_THROW(read_exact(far.get(), one, in(0.05)), Error);
  write_all(near.get(), one, in(5));
  read_exact(far.get(), one, in(5));
}

}  // namespace stoker::net
