#include "net/io_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <optional>

#include "net/handshake.h"

namespace stoker::net {
namespace {

const Bytes kSecret(32, std::byte{7});

TimePoint in(double s) { return Clock::now() + from_seconds(s); }

/// A member's end of a connection.
struct Member {
  explicit Member(Fd connected) : fd(std::move(connected)) {
    Seals seals = handshake_blocking(fd.get(), Role::connector, kSecret, {}, in(5));
    seal = std::move(seals.out);
    reader.emplace(8 << 20, std::move(seals.in));
  }
  Bytes sealed(uint16_t kind, ByteView body) {
    Bytes frame = encode_frame(kind, 3, body, 8 << 20);
    seal_frame(seal, frame);
    return frame;
  }
  Fd fd;
  Seal seal;
  std::optional<FrameReader> reader;
};

/// Writes down what the loop tells; answers kind k with kind k + 1 and the same body.
class Echo : public LoopHandler {
 public:
  void opened(ConnectionId id) override {
    note([&] { open.push_back(id); });
  }
  void received(ConnectionId id, Frame frame) override {
    if (frame.kind == 666) fail_world("a kind that nobody wants");
    loop->send(id, frame.kind + 1, frame.generation, frame.body);
  }
  void closed(ConnectionId, const std::string& reason) override {
    if (without_memory-- > 0) throw std::bad_alloc();
    note([&] { reasons.push_back(reason); });
  }
  void sent(ConnectionId, uint64_t frames) override {
    note([&] { gone = frames; });
  }
  void tick(TimePoint) override {
    if (without_memory > 0) throw std::bad_alloc();
  }
  template <typename Change>
  void note(Change change) {
    const std::lock_guard lock(mutex);
    change();
    changed.notify_all();
  }
  template <typename Ready>
  bool wait(Ready ready, double within = 10) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, from_seconds(within), ready);
  }
  std::string reason() {
    return wait([&] { return !reasons.empty(); }) ? reasons.front() : "none";
  }

  IoLoop* loop = nullptr;
  std::atomic<int> without_memory = 0;  // that many ends of connections are told in vain, and all ticks meanwhile
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<ConnectionId> open;
  std::vector<std::string> reasons;
  uint64_t gone = 0;
};

class Service {
 public:
  explicit Service(LoopOptions options = {}) {
    options.secret = kSecret;
    Fd listener = listen_tcp("127.0.0.1");
    port = local_port(listener.get());
    loop = std::make_unique<IoLoop>(std::move(options), echo, std::move(listener));
    echo.loop = loop.get();
  }
  Fd stranger() const { return connect_tcp("127.0.0.1", port, in(5)); }
  Member peer() const { return Member(stranger()); }

  int port;
  Echo echo;
  std::unique_ptr<IoLoop> loop;
};

void send(Member& member, uint16_t kind, ByteView body) {
  write_all(member.fd.get(), member.sealed(kind, body), in(5));
}

Frame receive(Member& member, size_t body) {
  Bytes bytes(kFrameHeader + (body == 0 ? 0 : body + kTagBytes));
  read_exact(member.fd.get(), bytes, in(5));
  std::optional<Frame> frame;
  member.reader->feed(bytes, [&](Frame f) { frame = std::move(f); });
  return frame.value();
}

bool ended(const Fd& fd, double within) {
  std::byte byte;
  try {
    read_exact(fd.get(), {&byte, 1}, in(within));
  } catch (const Error& error) {
    return std::string(error.what()).find("timed out") == std::string::npos;
  }
  return false;
}

}  // namespace

TEST(IoLoop, FramesGoThereAndBack) {
  const Service service;
  Member peer = service.peer();
  for (const size_t size : {0, 1, 100, 1 << 20}) {
    Bytes body(size, std::byte{5});
    send(peer, 10, body);
    const Frame back = receive(peer, size);
    EXPECT_EQ(back.kind, 11);
    EXPECT_EQ(back.generation, 3u);
    EXPECT_EQ(back.body, body);
  }
}

TEST(IoLoop, StrangerWhoSaysNothingIsDroppedAtItsDeadline) {
  LoopOptions options;
  options.stranger_time = std::chrono::milliseconds(100);
  Service service(options);
  const Fd silent = service.stranger();
  EXPECT_FALSE(ended(silent, 0.05));
  EXPECT_TRUE(ended(silent, 5));
  EXPECT_TRUE(service.echo.open.empty());
}

TEST(IoLoop, StrangerWhoSaysALittleNowAndThenIsDroppedTheSame) {
  LoopOptions options;
  options.stranger_time = std::chrono::milliseconds(200);
  const Service service(options);
  const Fd slow = service.stranger();
  const Stopwatch watch;
  EXPECT_THROW(
      {
        for (int i = 0; i < 36; ++i) {
          write_all(slow.get(), as_bytes("S"), in(1));
          if (ended(slow, 0.05)) fail_world("dropped");
        }
      },
      Error);
  EXPECT_LT(watch.elapsed(), 1.5);
}

TEST(IoLoop, WrongProofIsDroppedAndNeverOpens) {
  Service service;
  const Fd fd = service.stranger();
  EXPECT_THROW(handshake_blocking(fd.get(), Role::connector, Bytes(32), {}, in(5)), Error);
  write_all(fd.get(), Bytes(32), in(5));
  EXPECT_TRUE(ended(fd, 5));
  EXPECT_TRUE(service.echo.open.empty());
  EXPECT_TRUE(service.echo.reasons.empty());
}

TEST(IoLoop, CrowdOfIdleStrangersLocksNobodyOut) {
  LoopOptions options;
  options.max_strangers = 20;
  const Service service(options);
  std::vector<Fd> idle;
  for (int i = 0; i < 100; ++i) idle.push_back(service.stranger());
  Member peer = service.peer();
  send(peer, 10, as_bytes("hello"));
  EXPECT_EQ(receive(peer, 5).kind, 11);
  EXPECT_TRUE(ended(idle.front(), 5));
  EXPECT_FALSE(ended(idle.back(), 0.05));
}

TEST(IoLoop, StrangersMakeRoomWhenDescriptorsRunOut) {
  const Service service;
  std::vector<Fd> strangers, fillers;
  for (int i = 0; i < 10; ++i) strangers.push_back(service.stranger());
  service.peer();  // strangers are accepted in order: those before it are by now
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit tight{64, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &tight);
  while (fillers.empty() || fillers.back()) fillers.emplace_back(open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(errno, EMFILE);
  fillers[0].reset();  // one descriptor for our end, none for the loop's
  Member peer = service.peer();
  setrlimit(RLIMIT_NOFILE, &before);
  send(peer, 10, {});
  EXPECT_EQ(receive(peer, 0).kind, 11);
  EXPECT_TRUE(ended(strangers.front(), 5));
}

TEST(IoLoop, WhatTheHandlerThrowsEndsThatConnectionOnly) {
  Service service;
  Member bad = service.peer(), good = service.peer();
  send(bad, 666, {});
  EXPECT_TRUE(ended(bad.fd, 5));
  EXPECT_EQ(service.echo.reason(), "a kind that nobody wants");
  send(good, 10, {});
  EXPECT_EQ(receive(good, 0).kind, 11);
}

TEST(IoLoop, AHandlerWithoutMemoryAtATickOrAnEndIsToldAgain) {
  Service service;
  Member good = service.peer();
  service.echo.without_memory = 3;
  service.peer();  // and gone
  EXPECT_EQ(service.echo.reason(), "the connection closed");
  send(good, 10, {});
  EXPECT_EQ(receive(good, 0).kind, 11);
}

TEST(IoLoop, OversizedFrameEndsThatConnectionOnly) {
  Service service;
  Member bad = service.peer(), good = service.peer();
  const Bytes large = bad.sealed(1, Bytes(3 << 20));
  write_all(bad.fd.get(), ByteView(large).first(kFrameHeader), in(5));
  EXPECT_TRUE(ended(bad.fd, 5));
  EXPECT_EQ(service.echo.reason(), "a frame of 3145728 bytes; at most 2097152 are allowed");
  send(good, 10, {});
  EXPECT_EQ(receive(good, 0).kind, 11);
}

TEST(IoLoop, EndInTheMiddleOfAFrameIsToldApart) {
  Service service;
  Member peer = service.peer();
  const Bytes frame = peer.sealed(1, Bytes(10));
  write_all(peer.fd.get(), ByteView(frame).first(25), in(5));
  peer.fd.reset();
  EXPECT_EQ(service.echo.reason(), "the connection closed in the middle of a frame");
}

TEST(IoLoop, PeerThatDoesNotReadIsDroppedBeforeMemoryFills) {
  LoopOptions options;
  options.max_queue = 4 << 20;
  Service service(options);
  Member deaf = service.peer();
  ASSERT_TRUE(service.echo.wait([&] { return !service.echo.open.empty(); }));
  for (int i = 0; i < 40; ++i) service.loop->send(service.echo.open.front(), 1, 1, Bytes(1 << 20));
  EXPECT_EQ(service.echo.reason(), "the other side does not read");
}

TEST(IoLoop, FramesThatHaveGoneAreToldApartFromThoseThatWait) {
  constexpr uint64_t kFrames = 40;
  Service service;
  Member slow = service.peer();
  ASSERT_TRUE(service.echo.wait([&] { return !service.echo.open.empty(); }));
  for (uint64_t i = 0; i < kFrames; ++i) service.loop->send(service.echo.open.front(), 1, 1, Bytes(1 << 20));
  EXPECT_TRUE(service.echo.wait([&] { return service.echo.gone > 0; }));
  EXPECT_FALSE(service.echo.wait([&] { return service.echo.gone == kFrames; }, 0.3));
  for (uint64_t i = 0; i < kFrames; ++i) receive(slow, 1 << 20);
  EXPECT_TRUE(service.echo.wait([&] { return service.echo.gone == kFrames; }));
}

TEST(IoLoop, CloseSendsWhatWasQueued) {
  Service service;
  Member peer = service.peer();
  ASSERT_TRUE(service.echo.wait([&] { return !service.echo.open.empty(); }));
  const ConnectionId id = service.echo.open.front();
  for (int i = 0; i < 8; ++i) service.loop->send(id, i, 1, Bytes(2 << 20));
  service.loop->close(id);
  for (int i = 0; i < 8; ++i) EXPECT_EQ(receive(peer, 2 << 20).kind, i);
  EXPECT_TRUE(ended(peer.fd, 5));
  EXPECT_TRUE(service.echo.reasons.empty());
}

TEST(IoLoop, LastWordsBeforeTheLoopEndsAreSent) {
  Service service;
  Member peer = service.peer();
  ASSERT_TRUE(service.echo.wait([&] { return !service.echo.open.empty(); }));
  service.loop->send(service.echo.open.front(), 9, 1, as_bytes("bye"));
  service.loop.reset();
  EXPECT_EQ(to_string(receive(peer, 3).body), "bye");
  EXPECT_TRUE(ended(peer.fd, 5));
}

}  // namespace stoker::net
