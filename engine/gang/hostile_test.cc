// Peers that lie, stall, shout or freeze, while a real fit goes through its life beside them.
#include <random>

#include "gang/test_fit.h"
#include "net/frame.h"
#include "net/handshake.h"
#include "net/socket.h"

namespace stoker::gang {
namespace {

TimePoint in(double s) { return Clock::now() + from_seconds(s); }

Bytes noise(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

/// A connection whose every byte is the test's.
class Raw {
 public:
  explicit Raw(const Fit& fit) : fd_(net::connect_tcp("127.0.0.1", fit.coordinator->port(), in(5))) {}
  Raw(net::Fd fd) : fd_(std::move(fd)) {}
  /// One that knows the secret.
  static Raw insider(const Fit& fit) {
    Raw raw(fit);
    net::handshake_blocking(raw.fd_.get(), net::Role::connector, fit.options.secret, in(5));
    return raw;
  }
  /// An insider that has said hello.
  static Raw member(const Fit& fit, const Hello& hello) {
    Raw raw = insider(fit);
    raw.say(hello);
    raw.hear();
    return raw;
  }

  /// The other end may close at the first wrong byte, before all are written; ended() tells.
  void write(ByteView bytes) try { net::write_all(fd_.get(), bytes, in(5)); } catch (const Error& error) {
    if (std::string(error.what()).find("Broken pipe") == std::string::npos &&
        std::string(error.what()).find("reset") == std::string::npos)
      throw;
  }
  Bytes read(size_t n) {
    Bytes bytes(n);
    net::read_exact(fd_.get(), bytes, in(5));
    return bytes;
  }
  void say(Kind kind, ByteView body, uint64_t generation = 0) {
    write(net::encode_frame(static_cast<uint16_t>(kind), generation, body, 64 << 20));
  }
  template <typename Message>
  requires requires { Message::kKind; }
  void say(const Message& message, uint64_t generation = 0) { say(Message::kKind, message.encode(), generation); }
  /// The next frame that is no ping.
  net::Frame hear() {
    net::FrameReader reader(kMaxBody);
    std::optional<net::Frame> frame;
    while (!frame || static_cast<Kind>(frame->kind) == Kind::ping) {
      reader.feed(read(1), [&](net::Frame f) { frame = std::move(f); });
    }
    return *frame;
  }
  /// Whether the coordinator closes it within the time.
  bool ended(double within = 5) {
    const auto deadline = in(within);
    try {
      for (std::byte byte;;) net::read_exact(fd_.get(), {&byte, 1}, deadline);
    } catch (const Error& error) {
      return std::string(error.what()).find("timed out") == std::string::npos;
    }
  }

 private:
  net::Fd fd_;
};

/// A fit of two that the test's hostile peers must not disturb: its end proves it.
class Hostile : public ::testing::Test {
 protected:
  void TearDown() override {
    links_[0]->result(as_bytes("weights"), "{}");
    for (const auto& link : links_) link->finished();
    EXPECT_EQ(fit_.failure(), "none");
    EXPECT_EQ(fit_.told("failed"), "");
    EXPECT_EQ(fit_.coordinator->result().first, Bytes(as_bytes("weights").begin(), as_bytes("weights").end()));
  }
  Fit fit_{2};
  std::vector<std::unique_ptr<WorkerLink>> links_ = fit_.started();
};

}  // namespace

TEST_F(Hostile, NoiseIsDropped) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    Raw raw(fit_);
    raw.write(noise(200, seed));
    EXPECT_TRUE(raw.ended());
  }
}

TEST_F(Hostile, FramesBeforeTheHandshakeAreDropped) {
  Raw raw(fit_);
  raw.say(fit_.hello(0));
  EXPECT_TRUE(raw.ended());
}

TEST_F(Hostile, FramesAfterAWrongProofAreDropped) {
  Raw raw(fit_);
  raw.write(net::Handshake(net::Role::connector, fit_.options.secret).opening());
  raw.read(68);
  raw.write(Bytes(32));
  EXPECT_TRUE(raw.ended());
}

TEST_F(Hostile, ReplayedHandshakeIsDropped) {
  net::Handshake real(net::Role::connector, fit_.options.secret);
  Raw first(fit_);
  first.write(real.opening());
  const Bytes proof = real.receive(first.read(68));

  Raw replay(fit_);
  replay.write(real.opening());
  replay.read(68);
  replay.write(proof);
  EXPECT_TRUE(replay.ended());
}

TEST_F(Hostile, ReflectedHandshakeIsDropped) {
  Raw mirror(fit_);
  mirror.write(net::Handshake(net::Role::connector, Bytes(32)).opening());
  mirror.write(ByteView(mirror.read(68)).last(32));
  EXPECT_TRUE(mirror.ended());
}

TEST_F(Hostile, HundredsOfIdleConnectionsLockNobodyOut) {
  std::vector<Raw> idle;
  for (int i = 0; i < 300; ++i) idle.emplace_back(fit_);
  const auto late = fit_.worker(fit_.hello(1, 99));
  EXPECT_EQ(late->admission().verdict, Admission::Verdict::duplicate);
  EXPECT_TRUE(idle.front().ended()) << "the oldest make room";
}

TEST_F(Hostile, InsiderWithWrongFramesLosesItsConnectionOnly) {
  const std::vector<std::function<void(Raw&)>> wrongs = {
      [&](Raw& raw) { raw.say(Kind::metrics, as_bytes("{}"), 1); },               // before hello
      [&](Raw& raw) { raw.say(Kind::hello, noise(30, 1)); },                      // no hello
      [&](Raw& raw) { raw.say(fit_.hello(0, 99), 2); },                           // a generation that is not yet
      [&](Raw& raw) { raw.say(Kind::hello, Bytes(3 << 20)); },                    // oversized
      [&](Raw& raw) { raw.write(noise(100, 2)); },                                // no frame
      [&](Raw& raw) { raw.say(static_cast<Kind>(999), {}); },                     // a kind that is none
      [&](Raw& raw) { raw.say(fit_.hello(0, 99)), raw.say(fit_.hello(0, 98)); },  // two hellos
      [&](Raw& raw) { raw.say(fit_.hello(0, 99)), raw.say(Ingested{}); },         // rows of one that was not admitted
  };
  for (size_t i = 0; i < wrongs.size(); ++i) {
    Raw raw = Raw::insider(fit_);
    wrongs[i](raw);
    EXPECT_TRUE(raw.ended()) << i;
  }
}

TEST_F(Hostile, FrameCutByTheEndIsNothing) {
  Raw raw = Raw::insider(fit_);
  const Bytes frame = net::encode_frame(1, 0, fit_.hello(0, 99).encode(), kMaxBody);
  raw.write(ByteView(frame).first(frame.size() - 1));
}

TEST(HostileMember, WrongMessageIsALostWorkerWithTheReason) {
  const std::vector<std::pair<std::string, std::function<void(Raw&)>>> wrongs = {
      {"a message of generation 7, not begun yet",
       [](Raw& raw) {
         raw.say(Pong{1, 1}, 7);
       }},
      {"a message before the start, kind 6", [](Raw& raw) { raw.say(Kind::metrics, as_bytes("{}")); }},
      {"a message before the start, kind 12", [](Raw& raw) { raw.say(Kind::finished, {}); }},
      {"a message of the unknown kind 999", [](Raw& raw) { raw.say(static_cast<Kind>(999), {}); }},
      {"message is cut short: 8 bytes wanted, 0 left", [](Raw& raw) { raw.say(Kind::pong, {}); }},
      {"the rows were told twice", [](Raw& raw) { raw.say(Ingested{}), raw.say(Ingested{}); }},
  };
  for (const auto& [text, say] : wrongs) {
    Fit fit(2);
    Raw raw = Raw::member(fit, fit.hello(1));
    say(raw);
    EXPECT_TRUE(raw.ended()) << text;
    EXPECT_EQ(fit.failure(), "world: worker 1 (host 127.0.0.1, pid 101) was lost before the first step: " + text);
  }
}

TEST(HostileMember, WrongResultIsALostWorkerWithTheReason) {
  const Bytes abc(as_bytes("abc").begin(), as_bytes("abc").end());
  const auto begin = [&](Raw& raw, uint64_t size, const Hash128& digest) { raw.say(ResultBegin{size, 0, digest}, 1); };
  const std::vector<std::pair<std::string, std::function<void(Raw&)>>> wrongs = {
      {"a piece of a result that was not announced", [&](Raw& raw) { raw.say(Kind::result_chunk, abc, 1); }},
      {"the result is longer than announced",
       [&](Raw& raw) { begin(raw, 2, {}), raw.say(Kind::result_chunk, abc, 1); }},
      {"the result arrived damaged", [&](Raw& raw) { begin(raw, 3, {}), raw.say(Kind::result_chunk, abc, 1); }},
      {"no memory for a result of 9223372036854775808 + 0 bytes", [&](Raw& raw) { begin(raw, 1ull << 63, {}); }},
      {"metrics that are no JSON object", [&](Raw& raw) { raw.say(Kind::metrics, as_bytes("3"), 1); }},
      {"the connection closed in the middle of a frame",
       [&](Raw& raw) {
         begin(raw, 3, {});
         raw.write(ByteView(net::encode_frame(10, 1, abc, kMaxBody)).first(22));
         raw = Raw(net::Fd());
       }},
  };
  for (const auto& [text, say] : wrongs) {
    Fit fit(1);
    Raw raw = Raw::member(fit, fit.hello(0));
    raw.say(Ingested{{{0, 1, {}}}});
    ASSERT_EQ(static_cast<Kind>(raw.hear().kind), Kind::start);
    say(raw);
    EXPECT_EQ(fit.failure(), "world: worker 0 (host 127.0.0.1, pid 100) was lost before the first step: " + text);
  }
}

TEST(HostileMember, OldGenerationsWordsAreVoid) {
  Fit fit(1);
  Raw raw = Raw::member(fit, fit.hello(0));
  raw.say(Ingested{{{0, 1, {}}}});
  raw.hear();
  raw.say(Kind::metrics, as_bytes(R"({"step": 3})"), 0);
  raw.say(Kind::finished, {}, 0);
  raw.say(Kind::metrics, as_bytes(R"({"step": 4})"), 1);
  ASSERT_TRUE(soon([&] { return fit.told("metrics") != ""; }));
  EXPECT_EQ(fit.told("metrics"), "{\"rank\":0,\"step\":4}\n");
  EXPECT_EQ(fit.told("finished"), "");
}

TEST(Killed, WorkerIsBlamedNotThoseWhoMissedItFirst) {
  Fit fit(3);
  const auto a = fit.worker(fit.hello(0)), b = fit.worker(fit.hello(1));
  std::optional<Raw> killed = Raw::member(fit, fit.hello(2));
  a->admission(), b->admission();
  a->failed(Error(ErrorKind::world, "rank 2 closed its connection"));
  b->failed(Error(ErrorKind::aborted, "told to stop"));
  killed.reset();
  EXPECT_NE(fit.failure().find("worker 2 (host 127.0.0.1, pid 102) was lost"), std::string::npos) << fit.failure();
}

TEST(Frozen, WorkerThatAnswersNoPingIsLost) {
  Fit fit(1, [](auto& options) { options.heartbeat_timeout = 0.3; });
  Raw frozen = Raw::member(fit, fit.hello(0));
  EXPECT_EQ(
      fit.failure(),
      "world: worker 0 (host 127.0.0.1, pid 100) was lost before the first step: it gave no sign of life for 0.3 s");
}

TEST(Frozen, WorkerThatAnswersPingsIsNotLost) {
  Fit fit(1, [](auto& options) { options.heartbeat_timeout = 0.5; });
  const auto busy = fit.worker(fit.hello(0));
  EXPECT_EQ(fit.failure(1.2), "still running");
  EXPECT_FALSE(busy->aborted());
}

TEST(Frozen, CoordinatorThatIsSilentStopsTheWorker) {
  const net::Fd listener = net::listen_tcp("127.0.0.1");
  const Bytes secret(32, std::byte{7});
  std::optional<Raw> frozen;
  std::thread coordinator([&] {
    ASSERT_TRUE(net::wait_readable(listener.get(), in(5)));
    net::Fd fd = net::accept_tcp(listener.get());
    net::handshake_blocking(fd.get(), net::Role::listener, secret, in(5));
    frozen.emplace(std::move(fd));
    frozen->hear();
    frozen->say(Admission{Admission::Verdict::go, "", 0.2});
  });
  WorkerLink link({"127.0.0.1", net::local_port(listener.get()), secret, 5}, {});
  coordinator.join();
  EXPECT_EQ(failure_of([&] { link.start(); }), "aborted: the coordinator has been silent for too long");
}

}  // namespace stoker::gang
