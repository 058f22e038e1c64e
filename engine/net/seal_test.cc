#include "net/seal.h"

#include <gtest/gtest.h>

#include "net/frame.h"
#include "net/handshake.h"

namespace stoker::net {
namespace {

std::string hex(ByteView bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", std::to_integer<unsigned>(byte));
    text += digits;
  }
  return text;
}

Bytes counting(size_t size) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i);
  return bytes;
}

/// The key of docs/formats/gang.md, made as it says there.
crypto::Bytes32 key_of(const std::string& sender, const Purpose& purpose, ByteView salt) {
  const std::string text = "stoker frames 3 " + sender;
  const Bytes encoded = encode(purpose);
  Bytes info(as_bytes(text).begin(), as_bytes(text).end());
  info.insert(info.end(), encoded.begin(), encoded.end());
  return crypto::hkdf_sha256(counting(32), salt, info);
}

crypto::Bytes32 key_of(const std::string& sender, const Purpose& purpose) {
  Bytes nonces(32, std::byte{0xc0});
  nonces.resize(64, std::byte{0x10});
  return key_of(sender, purpose, nonces);
}

struct Ends {
  explicit Ends(bool encrypts)
      : out(Seal::Way::out, counting(32), encrypts), in(Seal::Way::in, counting(32), encrypts) {}
  Seal out, in;
};

}  // namespace

// Golden values: Python's hmac and hashlib for the keys, its cryptography package for the tags.
TEST(Seal, KeysAreThoseOfTheDocument) {
  EXPECT_EQ(hex(key_of("connector", {})), "33609ee43df3c633991959b5beff722e21f52038189840b9e707cface6bd2cb7");
  EXPECT_EQ(hex(key_of("listener", {})), "3244067bf6dde623d7cc36953d9d641fe8eb339513709db724c9b6a34f628868");
  EXPECT_EQ(hex(key_of("connector", {.encrypted = true})),
            "497893ea2379c7f96e78628093b95fec8e13123b799b2bc77cde25733712f180");
}

TEST(Seal, FramesAreThoseOfTheDocument) {
  const std::string head = "53544603070000000200000002000000000000004bf6b0b6022efe8cdcc57d283d888cdb";
  for (const bool encrypts : {false, true}) {
    Seal seal(Seal::Way::out, key_of("connector", {}), encrypts);
    Bytes frame = encode_frame(7, 2, as_bytes("hi"), 1000);
    seal_frame(seal, frame);
    EXPECT_EQ(hex(frame),
              head + (encrypts ? "b768e53211da918150fe236937e739235ade" : "6869d724b341ba70ffd2201a6531f35f7785"));
  }
}

TEST(Seal, AHandshakesKeysAreMadeLikeThat) {
  const Bytes secret = counting(32);
  const Purpose purpose{.kind = Purpose::Kind::peer, .encrypted = true, .generation = 7, .from = 2, .to = 1};
  Handshake connector(Role::connector, secret, purpose), listener(Role::listener, secret, purpose);
  const Bytes opening = connector.opening(), answer = listener.receive(opening);
  connector.receive(answer);
  Bytes nonces(opening.end() - 32, opening.end());
  nonces.insert(nonces.end(), answer.begin() + 24, answer.begin() + 56);
  Seal mine(Seal::Way::out, key_of("connector", purpose, nonces), true);
  EXPECT_EQ(connector.seals().out.tag_of(as_bytes("x")), mine.tag_of(as_bytes("x")));
}

TEST(Seal, PartsComeBackHoweverTheyAreCut) {
  for (const bool encrypts : {false, true})
    for (const size_t size : {0, 1, 15, 16, 17, 1000, 70'001}) {
      Ends ends(encrypts);
      Bytes part = counting(size);
      ends.out.begin();
      for (size_t at = 0; at < size; at += 7)
        ends.out.pass(std::span(part).subspan(at, std::min<size_t>(7, size - at)));
      const Tag tag = ends.out.tag();
      EXPECT_EQ(part != counting(size), encrypts && size > 0) << size;
      ends.in.begin();
      for (size_t at = 0; at < size; at += 33)
        ends.in.pass(std::span(part).subspan(at, std::min<size_t>(33, size - at)));
      EXPECT_TRUE(ends.in.fits(tag)) << size;
      EXPECT_EQ(part, counting(size));
    }
}

TEST(Seal, TheSamePartTwiceHasTwoTags) {
  Ends ends(false);
  const Tag first = ends.out.tag_of(as_bytes("stop"));
  EXPECT_NE(first, ends.out.tag_of(as_bytes("stop")));
  EXPECT_TRUE(ends.in.fits(as_bytes("stop"), first));
  EXPECT_FALSE(ends.in.fits(as_bytes("stop"), first)) << "repeated";
}

TEST(Seal, NothingFollowsTheLastPart) {
  Ends ends(false);
  ends.out.tag_of(as_bytes("unread"));
  ends.out.begin_last();
  const Tag last = ends.out.tag();
  for (int i = 0; i < 2; ++i) {
    ends.in.begin_last();
    EXPECT_TRUE(ends.in.fits(last));
  }
  EXPECT_THROW(ends.out.begin(), Error);
  EXPECT_THROW(ends.out.begin_last(), Error);
}

}  // namespace stoker::net
