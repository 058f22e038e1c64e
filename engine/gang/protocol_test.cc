#include "gang/protocol.h"

#include <gtest/gtest.h>

#include <random>

#include "net/frame.h"

namespace stoker::gang {
namespace {

// Encoding again what was decoded gives the same bytes: so no field is lost, and no == is needed.
template <typename Message>
void expect_round_trip(const Message& message) {
  const Bytes bytes = message.encode();
  EXPECT_EQ(Message::decode(bytes).encode(), bytes);
  EXPECT_THROW(Message::decode(ByteView(bytes).first(bytes.size() - 1)), Error) << "cut short";
  Bytes longer = bytes;
  longer.push_back(std::byte{0});
  EXPECT_THROW(Message::decode(longer), Error) << "too long";
}

Bytes bytes_of(const std::string& hex) {
  Bytes bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

Hello hello() {
  return {.partition = 3,
          .attempt = 1ull << 40,
          .attempt_number = 2,
          .job = 3,
          .host = "host-a",
          .pid = 1ll << 33,
          .peer_port = 65535,
          .unix_name = "stoker-x",
          .torch_version = "2.13.0",
          .isa = 2,
          .loaded_isa = -1};
}

Start start() {
  Start start;
  start.roster.generation = 4;
  start.roster.members = {{0, "a", 1, "u", 10, 20}, {1, "b", 2, "", 11, 21}};
  start.roster.force_tcp = true;
  start.commit = 1ull << 41;
  start.held = {77, 5, 1ull << 33, {9, 10}};
  start.kept = {1ull << 42, 3, 1ull << 34, {11, 12}};
  start.shards = {{0, 10, {1, 2}}, {1, 0, {}}};
  start.owners = {1, 0};
  start.isa = 1;
  start.initial = {1ull << 40, {5, 6}};
  start.constants = {1ull << 41, {7, 8}};
  return start;
}

}  // namespace

TEST(Protocol, EveryMessageComesBackAsItWas) {
  expect_round_trip(hello());
  expect_round_trip(Admission{Admission::Verdict::refused, "why", 1.5, 2});
  expect_round_trip(Ingesting{1ll << 40});
  expect_round_trip(Ingested{{{0, 5, {7, 8}}, {11, 0, {}}}});
  expect_round_trip(Ingested{});
  expect_round_trip(start());
  expect_round_trip(Start{});
  expect_round_trip(Fetch{Wanted::constants, 1ull << 40});
  expect_round_trip(Halt{"why"});
  expect_round_trip(Halted{1ull << 40, ""});
  expect_round_trip(Holding{{1, 2, 3, {4, 5}}});
  expect_round_trip(Lends{true});
  expect_round_trip(Wish{1ull << 40, 0.125, true});
  expect_round_trip(BorrowedRows{{}});
  expect_round_trip(BorrowedRows{{0, 7, 4000}});
  expect_round_trip(Kill{"stoker-x"});
  expect_round_trip(StateBegin{{1ull << 42, 3, 1ull << 34, {11, 12}}});
  expect_round_trip(StateDigest{3, {4, 5}});
  expect_round_trip(Fingerprint{{1, 2}, "a CPU", "index out of range"});
  expect_round_trip(Refused{"why"});
  expect_round_trip(Ping{9});
  expect_round_trip(Pong{9, -1, 2.5, 7.5, "rank 1"});
  expect_round_trip(ResultBegin{1ull << 40, 3, {1, 2}});
  expect_round_trip(ResultStored{{3, 4}});
  expect_round_trip(Failed{ErrorKind::bug, "text"});
  expect_round_trip(Abort{""});
}

TEST(Protocol, FieldsLandWhereTheyBelong) {
  const Hello h = Hello::decode(hello().encode());
  EXPECT_EQ(std::tuple(h.partition, h.attempt, h.attempt_number, h.host, h.pid),
            std::tuple(3, 1ull << 40, 2, "host-a", 1ll << 33));
  EXPECT_EQ(h.job, 3);
  EXPECT_EQ(std::tuple(h.peer_port, h.unix_name, h.torch_version, h.isa, h.loaded_isa),
            std::tuple(65535, "stoker-x", "2.13.0", 2, -1));
  const Start s = Start::decode(start().encode());
  ASSERT_EQ(s.roster.members.size(), 2u);
  const auto& member = s.roster.members[1];
  EXPECT_EQ(std::tuple(member.rank, member.host, member.port, member.pid, member.attempt),
            std::tuple(1, "b", 2, 11, 21u));
  EXPECT_EQ(std::tuple(s.roster.generation, s.roster.force_tcp, s.isa), std::tuple(4u, true, 1));
  EXPECT_EQ(s.commit, 1ull << 41);
  EXPECT_EQ(std::tuple(s.held.pid, s.held.fd, s.held.bytes, s.held.nonce.low), std::tuple(77, 5, 1ull << 33, 10u));
  EXPECT_EQ(s.shards[0].digest, (Hash128{1, 2}));
  EXPECT_EQ(s.owners, (std::vector<int>{1, 0}));
  EXPECT_TRUE(s.roster.secret.empty());
}

TEST(Protocol, BytesAreThoseOfTheDocument) {
  const Bytes bytes = Failed{ErrorKind::user, "no rows"}.encode();
  EXPECT_EQ(to_string(bytes), std::string("\x00\x07\x00\x00\x00no rows", 12));
}

TEST(Protocol, UnknownCodesAreRefused) {
  Bytes failed = Failed{ErrorKind::bug, ""}.encode();
  failed[0] = std::byte{4};
  EXPECT_THROW(Failed::decode(failed), Error);
  Bytes admission = Admission{}.encode();
  admission[0] = std::byte{4};
  EXPECT_THROW(Admission::decode(admission), Error);
}

TEST(Protocol, FlagsAreYesOrNo) {
  Bytes message = Start{}.encode();
  const size_t flag = sizeof(uint64_t) + sizeof(uint32_t);  // after generation and no members
  ASSERT_EQ(message[flag], std::byte{0});
  message[flag] = std::byte{2};
  EXPECT_THROW(Start::decode(message), Error);
}

TEST(Protocol, HostileCountsCostNoMemory) {
  EXPECT_THROW(Ingested::decode(Encoder().put(uint32_t{0xffffffff}).take()), Error);
  EXPECT_THROW(Start::decode(Encoder().put(uint64_t{1}).put(uint32_t{0xffffffff}).take()), Error);
}

TEST(Protocol, RandomBytesEndInAnErrorOrAMessage) {
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    Bytes noise(random() % 80);
    for (auto& byte : noise) byte = static_cast<std::byte>(random() % 4);
    const auto decode = [&](auto message) {
      try {
        decltype(message)::decode(noise);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::world);
      }
    };
    decode(Hello{});
    decode(Start{});
    decode(Ingested{});
    decode(Admission{});
    decode(Failed{});
  }
}

TEST(Protocol, DigestTellsWeightsFromHistory) {
  EXPECT_NE(result_digest(as_bytes("a"), "b"), result_digest(as_bytes("b"), "a"));
  EXPECT_NE(result_digest({}, "a"), result_digest(as_bytes("a"), ""));
}

/// Of docs/formats/gang.md; tests/test_gang_binding.py makes the keys by Python's own means.
TEST(Protocol, FramesAreThoseOfTheFormatsPage) {
  net::Seal worker(net::Seal::Way::out, bytes_of("33609ee43df3c633991959b5beff722e21f52038189840b9e707cface6bd2cb7"),
                   false);
  net::Seal coordinator(net::Seal::Way::out,
                        bytes_of("3244067bf6dde623d7cc36953d9d641fe8eb339513709db724c9b6a34f628868"), false);
  const auto sealed = [](net::Seal& seal, const auto& message, uint64_t generation) {
    Bytes frame = net::encode_frame(static_cast<uint16_t>(message.kKind), generation, message.encode(), kMaxBody);
    net::seal_frame(seal, frame);
    return frame;
  };
  const Hello hello{.partition = 1,
                    .attempt = 42,
                    .host = "10.0.0.7",
                    .pid = 4242,
                    .peer_port = 40001,
                    .unix_name = "s7",
                    .torch_version = "2.13.0",
                    .isa = 2};
  EXPECT_EQ(sealed(worker, hello, 0),
            bytes_of("53544603010000004400000000000000000000001371854c23189101a0083233127d2289010000002a00000000000000"
                     "00000000000000000800000031302e302e302e379210000000000000419c000002000000733706000000322e31332e30"
                     "02000000ffffffff774a57eacf4c82f51406e2081c19fa23"));
  EXPECT_EQ(sealed(coordinator, Admission{Admission::Verdict::go, "", 5}, 0),
            bytes_of("5354460302000000110000000000000000000000648ee6b788ef29c5a5db8e6cc659c97d000000000000000000000014"
                     "40ffffffffad144b39ed6299ae0d9c96832cfb11af"));
  EXPECT_EQ(sealed(worker, Failed{ErrorKind::user, "no rows"}, 1),
            bytes_of("535446030d0000000c0000000100000000000000bdf738955bd9c101f66c23cb509228d800070000006e6f20726f7773"
                     "e02098d96feb2cbe703ca52216fcee44"));
}

}  // namespace stoker::gang
