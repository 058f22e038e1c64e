// Somebody between two hosts, who knows the protocol and not the secret.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "collective/all_reduce.h"
#include "collective/testing.h"
#include "collective/wire.h"
#include "net/test_relay.h"

namespace stoker::collective {
namespace {

using net::Relay;
using testing::Rosters;
using testing::run_ranks;

constexpr float kMine = 1.2345678f;  // each number of rank 0's

net::Cut cut() {
  const auto payload = [](ByteView head) { return Decoder(head.subspan(kNumberBytes - 8, 8)).get<uint64_t>(); };
  return {kHeaderBytes, payload, {56, 32}, {88, kNonceBytes}};
}

/// Two hosts that sum up `steps` times over a relay; what each saw.
struct Outcome {
  std::string texts[2] = {"none", "none"};
  std::vector<float> sum;
  bool plain = false;  // whether a rank's numbers were seen on the wire
};

Outcome sum_over(size_t floats, bool encrypted, const Relay::Change& change, int steps = 1) {
  Rosters rosters({.size = 2, .force_tcp = true, .encrypted = encrypted});
  Relay relay(rosters.listeners[0]->port(), cut(), change);
  rosters.common.members[0].port = relay.port();
  Outcome outcome;
  run_ranks(2, [&](int rank) {
    try {
      const auto group = rosters.form(rank);
      AllReduce all(*group, static_cast<int64_t>(floats));
      for (int step = 0; step < steps; ++step) {
        std::ranges::fill(all.buffer(), static_cast<float>(rank) + kMine);
        all.run();
      }
      if (rank == 1) outcome.sum.assign(all.buffer().begin(), all.buffer().end());
    } catch (const Error& error) {
      outcome.texts[rank] = error.what();
    }
  });
  const std::vector<float> pattern(16, kMine);
  outcome.plain = relay.saw(std::as_bytes(std::span(pattern)));
  return outcome;
}

bool is_clear(const std::string& text) {
  for (const char* clear : {"is not what was sent", "died: its connection closed", "the other side closed"})
    if (text.find(clear) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST(Tamper, NothingIsChangedWhereNobodyTampers) {
  for (const size_t floats : {0, 1, 15, 17, 400'000})
    for (const bool encrypted : {false, true}) {
      const Outcome outcome = sum_over(floats, encrypted, net::unchanged(), 3);
      EXPECT_EQ(outcome.texts[0] + outcome.texts[1], "nonenone") << floats;
      EXPECT_EQ(outcome.sum, std::vector<float>(floats, kMine + (1 + kMine)));
      EXPECT_EQ(outcome.plain, floats > 100 && !encrypted) << floats;
    }
}

TEST(Tamper, EachKindEndsTheGenerationWithAClearError) {
  for (const bool encrypted : {false, true})
    for (const Relay::To to : {Relay::To::listener, Relay::To::connector})
      for (const size_t frame : {0, 1, 2})  // topology, partials, sums
        for (const auto& tampering : net::tamperings(to, frame, kHeaderBytes)) {
          const Outcome outcome = sum_over(400'000, encrypted, tampering.change, 2);
          const std::string texts = outcome.texts[0] + " | " + outcome.texts[1];
          EXPECT_TRUE(is_clear(outcome.texts[0]) || is_clear(outcome.texts[1]))
              << tampering.name << " of frame " << frame << ": " << texts;
          EXPECT_NE(outcome.texts[0], "none") << tampering.name << frame;
          EXPECT_NE(outcome.texts[1], "none") << tampering.name << frame;
        }
}

/// Sums are on their way before the last byte of what they are made of has come.
TEST(Tamper, NobodyGetsAWholeSumOfPartialsBeforeTheirTagHasCome) {
  constexpr size_t kPartials = 1, kSums = 2;
  std::atomic<int> whole = 0;
  const auto keep_the_tag = [&](Relay::To to, size_t number, Bytes frame) -> std::optional<Bytes> {
    if (to == Relay::To::connector && number == kSums) ++whole;
    if (to == Relay::To::listener && number == kPartials) frame.erase(frame.end() - net::kTagBytes, frame.end());
    if (to != Relay::To::listener || number != kSums) return frame;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // time enough for a whole sum
    return std::nullopt;
  };
  const Outcome outcome = sum_over(400'000, false, keep_the_tag);
  EXPECT_NE(outcome.texts[0], "none");
  EXPECT_NE(outcome.texts[1], "none");
  EXPECT_EQ(whole, 0);
}

}  // namespace stoker::collective
