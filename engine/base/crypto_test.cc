#include "base/crypto.h"

#include <gtest/gtest.h>

#include <iomanip>
#include <sstream>

namespace stoker::crypto {
namespace {

std::string hex(ByteView bytes) {
  std::ostringstream out;
  for (const std::byte byte : bytes) out << std::hex << std::setw(2) << std::setfill('0') << std::to_integer<int>(byte);
  return out.str();
}

Bytes counting(size_t size, int from) {
  Bytes bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(from + static_cast<int>(i));
  return bytes;
}

}  // namespace

TEST(Crypto, HkdfIsThatOfRfc5869) {
  const auto key = hkdf_sha256(Bytes(22, std::byte{0x0b}), counting(13, 0), counting(10, 0xf0));
  EXPECT_EQ(hex(key), "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
}

TEST(Crypto, HmacIsThatOfRfc4231) {
  EXPECT_EQ(hex(hmac_sha256(as_bytes("Jefe"), as_bytes("what do ya want for nothing?"))),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Crypto, SameLooksAtEachByteAndTheLength) {
  EXPECT_TRUE(same(as_bytes("abc"), as_bytes("abc")));
  for (const char* other : {"abd", "bbc", "ab", "abcd", ""}) EXPECT_FALSE(same(as_bytes("abc"), as_bytes(other)));
}

}  // namespace stoker::crypto
