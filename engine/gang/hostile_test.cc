// Peers that lie, stall, shout or freeze, while a real fit goes through its life beside them.
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "gang/test_raw.h"

namespace stoker::gang {
namespace {

Bytes noise(size_t size, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

/// Memory of this process that is in use. Freed pages may stay, so only growth counts.
size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  size_t whole = 0, resident = 0;
  statm >> whole >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

void allow_descriptors(rlim_t count) {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = std::min(limit.rlim_max, std::max(limit.rlim_cur, count));
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ASSERT_GE(limit.rlim_cur, count);
}

/// A fit of two that the test's hostile peers must not disturb: its end proves it.
class Hostile : public ::testing::Test {
 protected:
  void TearDown() override {
    links_[0]->result(as_bytes("weights"), "{}");
    for (const auto& link : links_) link->finished();
    EXPECT_EQ(fit_.failure(), "none");
    EXPECT_EQ(fit_.told("failed"), "");
    EXPECT_EQ(fit_.coordinator->take_result().first, Bytes(as_bytes("weights").begin(), as_bytes("weights").end()));
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
  raw.write(net::Handshake(net::Role::connector, fit_.options.secret, control_purpose(false)).opening());
  raw.read(88);
  raw.write(Bytes(32));
  EXPECT_TRUE(raw.ended());
}

TEST_F(Hostile, ReplayedHandshakeIsDropped) {
  net::Handshake real(net::Role::connector, fit_.options.secret, control_purpose(false));
  Raw first(fit_);
  first.write(real.opening());
  const Bytes proof = real.receive(first.read(88));

  Raw replay(fit_);
  replay.write(real.opening());
  replay.read(88);
  replay.write(proof);
  EXPECT_TRUE(replay.ended());
}

TEST_F(Hostile, ReflectedHandshakeIsDropped) {
  Raw mirror(fit_);
  mirror.write(net::Handshake(net::Role::connector, Bytes(32), control_purpose(false)).opening());
  mirror.write(ByteView(mirror.read(88)).last(32));
  EXPECT_TRUE(mirror.ended());
}

TEST_F(Hostile, ThousandIdleConnectionsLockNobodyOutAndTakeNoMemory) {
  constexpr size_t kIdle = 1000;
  allow_descriptors(2 * kIdle);
  const size_t before = resident_bytes();
  std::vector<Raw> idle;
  for (size_t i = 0; i < kIdle; ++i) idle.emplace_back(fit_);
  const auto late = fit_.worker(fit_.hello(1, 3));
  EXPECT_EQ(late->admission().verdict, Admission::Verdict::duplicate);
  EXPECT_TRUE(idle.front().ended()) << "the oldest make room";
  EXPECT_LT(resident_bytes() - std::min(before, resident_bytes()), kIdle * (size_t{1} << 20) / 16);
}

TEST_F(Hostile, LongestFramesThatNeverEndTakeNoMoreThanWasSent) {
  constexpr size_t kPeers = 50, kSent = 100 << 10;
  const Bytes frame = net::encode_frame(6, 0, Bytes(kMaxBody), kMaxBody);
  std::vector<Raw> peers;
  std::vector<Bytes> beginnings;  // before the memory is looked at: a sanitizer keeps what is freed
  for (size_t i = 0; i < kPeers; ++i) {
    peers.push_back(Raw::insider(fit_));
    const Bytes whole = peers.back().sealed(frame);
    beginnings.emplace_back(whole.begin(), whole.begin() + kSent);
  }
  const size_t before = resident_bytes();
  for (size_t i = 0; i < kPeers; ++i) peers[i].write(beginnings[i]);
  const auto late = fit_.worker(fit_.hello(1, 3));
  EXPECT_EQ(late->admission().verdict, Admission::Verdict::duplicate);
  EXPECT_LT(resident_bytes() - std::min(before, resident_bytes()), kPeers << 20);
}

TEST_F(Hostile, SlowStrangerIsDroppedInTimeAndHoldsNobodyUp) {
  Raw slow(fit_);
  const Bytes opening = net::Handshake(net::Role::connector, fit_.options.secret, control_purpose(false)).opening();
  const Stopwatch watch;
  for (size_t i = 0; i < opening.size() && !slow.ended(0.3); ++i) slow.write(ByteView(opening).subspan(i, 1));
  EXPECT_GT(watch.elapsed(), 4);
  EXPECT_LT(watch.elapsed(), 8);
}

TEST_F(Hostile, SlowInsiderHoldsNobodyUp) {
  Raw slow = Raw::insider(fit_);
  const Bytes frame = slow.sealed(net::encode_frame(1, 0, fit_.hello(0, 99).encode(), kMaxBody));
  std::jthread writer([&] {
    for (const std::byte byte : frame) {
      slow.write({&byte, 1});
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
  for (const Stopwatch watch; watch.elapsed() < 1;) {
    const Stopwatch one;
    const auto late = fit_.worker(fit_.hello(1, 2));
    EXPECT_EQ(late->admission().verdict, Admission::Verdict::duplicate);
    EXPECT_LT(one.elapsed(), 0.9);
  }
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
  const Bytes frame = raw.sealed(net::encode_frame(1, 0, fit_.hello(0, 99).encode(), kMaxBody));
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
    EXPECT_EQ(fit.loss(1), "world: " + text);
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
         raw.write(ByteView(raw.sealed(net::encode_frame(10, 1, abc, kMaxBody))).first(22));
         raw = Raw(net::Fd());
       }},
  };
  for (const auto& [text, say] : wrongs) {
    Fit fit(1);
    Raw raw = Raw::member(fit, fit.hello(0));
    raw.say(Ingested{{{0, 1, {}}}});
    ASSERT_EQ(static_cast<Kind>(raw.hear().kind), Kind::start);
    say(raw);
    EXPECT_EQ(fit.loss(0), "world: " + text);
    EXPECT_FALSE(fit.coordinator->done()) << "a newer attempt may do better";
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

TEST(HostileMember, FencedMembersLateWordsChangeNothing) {
  Fit fit(2, [](auto& options) { options.heartbeat_timeout = 0.3; });
  Raw silent = Raw::member(fit, fit.hello(1, 11));
  const auto other = fit.worker(fit.hello(0, 10));
  other->ingested({{0, 1, {}}});
  silent.say(Ingested{{{1, 1, {}}}});
  const Start first = other->start();
  ASSERT_EQ(fit.loss(1), "world: it gave no sign of life for 0.3 s");
  other->halted(first, 4, "");
  silent.say(Halted{9, ""}, 1);
  EXPECT_TRUE(silent.ended()) << "it is a stranger now";
  const auto newer = fit.worker(fit.hello(1, 12));
  newer->ingested({{1, 1, {}}});
  EXPECT_EQ(std::tuple(newer->start().commit, other->start().commit), std::tuple(4u, 4u));
}

TEST(Frozen, WorkerThatAnswersNoPingIsLostAndToldSo) {
  Fit fit(1, [](auto& options) { options.heartbeat_timeout = 0.3; });
  Raw frozen = Raw::member(fit, fit.hello(0));
  EXPECT_EQ(fit.loss(0), "world: it gave no sign of life for 0.3 s");
  const net::Frame last = frozen.hear();
  ASSERT_EQ(static_cast<Kind>(last.kind), Kind::abort);
  EXPECT_EQ(Abort::decode(last.body).reason, "it gave no sign of life for 0.3 s");
}

TEST(Frozen, WorkerThatTalksButDoesNotHaltIsLost) {
  Fit fit(2, [](auto& options) { options.heartbeat_timeout = 0.2; });
  auto links = fit.started();
  links[1].reset();
  EXPECT_EQ(fit.loss(0), "world: it was told to halt and has not within 0.6 s");
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
    frozen.emplace(net::accept_tcp(listener.get()));
    frozen->prove(net::Role::listener, secret);
    frozen->hear();
    frozen->say(Admission{Admission::Verdict::go, "", 0.2});
  });
  WorkerLink link(Line({"127.0.0.1", net::local_port(listener.get()), secret, 5}), {});
  coordinator.join();
  EXPECT_EQ(failure_of([&] { link.start(); }), "aborted: the coordinator has been silent for too long");
  EXPECT_TRUE(link.lost());
}

/// It takes much in at once, and then is busy with something else for a while, again and again.
TEST(Frozen, ACoordinatorThatStopsToReadForAWhileGetsAllOfAState) {
  constexpr size_t kState = 320 << 20, kAtOnce = 48 << 20;
  const net::Fd listener = net::listen_tcp("127.0.0.1");
  const Bytes secret(32, std::byte{7});
  size_t got = 0;
  std::optional<Raw> busy;
  std::thread coordinator([&] {
    ASSERT_TRUE(net::wait_readable(listener.get(), in(5)));
    busy.emplace(net::accept_tcp(listener.get()));
    busy->prove(net::Role::listener, secret);
    for (size_t more = 1; more > 0 && got < kState; got += more) {
      more = busy->drain(std::min(kAtOnce, kState - got));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  });
  WorkerLink link(Line({"127.0.0.1", net::local_port(listener.get()), secret, 5}), {});
  Bytes state(kState);
  EXPECT_EQ(failure_of([&] { link.hand_in({}, {std::span(state)}); }), "none");
  coordinator.join();
  EXPECT_GE(got, kState);
  EXPECT_EQ(link.abort_reason(), "");
}

TEST(HostileMember, AStartThatFitsNoFrameEndsTheFitInWords) {
  Fit fit(3);
  std::vector<std::unique_ptr<WorkerLink>> links;
  for (int p = 0; p < 3; ++p) {
    Hello hello = fit.hello(p, 10 + p);
    hello.host = std::string(1 << 20, 'h');
    links.push_back(fit.worker(hello));
    links.back()->ingested({{p, 1, {}}});
  }
  EXPECT_EQ(fit.failure().substr(0, 36), "bug: the coordinator could not go on");
}

}  // namespace stoker::gang
