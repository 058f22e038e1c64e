#include "net/socket.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <thread>
#include <vector>

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

TEST(Socket, PortsThatAreTakenArePassedOver) {
  const Fd first = listen_tcp("127.0.0.1");
  const int port = local_port(first.get());
  const Fd second = listen_tcp("127.0.0.1", {port, port + 20});
  EXPECT_GT(local_port(second.get()), port);
  EXPECT_LE(local_port(second.get()), port + 20);
}

TEST(Socket, NoFreePortSaysWhichOnesWereTried) {
  const Fd taken = listen_tcp("127.0.0.1");
  const int port = local_port(taken.get());
  try {
    listen_tcp("127.0.0.1", {port, port});
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(cat("listen on 127.0.0.1 port ", port, ": Address already in use")),
              std::string::npos)
        << error.what();
  }
}

struct Address {
  Address(const char* number, int port, Address* next) {
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, number, &to.sin_addr);
    info.ai_family = AF_INET;
    info.ai_socktype = SOCK_STREAM;
    info.ai_addr = reinterpret_cast<sockaddr*>(&to);
    info.ai_addrlen = sizeof to;
    info.ai_next = next ? &next->info : nullptr;
  }
  sockaddr_in to{};
  addrinfo info{};
};

/// A listener that takes nobody in: once its queue is full the kernel drops what the next ones send.
struct BlackHole {
  BlackHole() {
    const Address me("127.0.0.1", port, nullptr);
    for (int i = 0; i < 3; ++i) {
      fill.emplace_back(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
      [[maybe_unused]] const int ignored = connect(fill.back().get(), me.info.ai_addr, me.info.ai_addrlen);
    }
  }
  Fd hole = listen_tcp("127.0.0.1", {}, 0);
  int port = local_port(hole.get());
  std::vector<Fd> fill;
};

TEST(Socket, AddressOfTheOtherFamilyWorks) {
  Fd listener;
  try {
    listener = listen_tcp("::1");
  } catch (const Error&) {
    GTEST_SKIP() << "no IPv6 here";
  }
  const Fd near = connect_tcp("::1", local_port(listener.get()), in(5));
  EXPECT_EQ(local_address(near.get()), "::1");
}

TEST(Socket, ABlackHoleDoesNotTakeTheTimeOfTheNextAddress) {
  const BlackHole hole;
  const Fd good = listen_tcp("127.0.0.2");
  Address second("127.0.0.2", local_port(good.get()), nullptr);
  const Address first("127.0.0.1", hole.port, &second);
  const Stopwatch watch;
  const Fd near = connect_first(&first.info, "connect", in(2));
  EXPECT_TRUE(wait_readable(good.get(), in(1)));
  EXPECT_GT(watch.elapsed(), 0.5);
  EXPECT_LT(watch.elapsed(), 1.9);
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
