#include "base/codec.h"

#include <gtest/gtest.h>

#include "base/hash.h"

namespace stoker {

TEST(Codec, RoundTripKeepsEveryType) {
  const Bytes message = Encoder().put(uint8_t{7}).put(int64_t{-3}).put(2.5).put("text").put("").take();
  Decoder in(message);
  EXPECT_EQ(in.get<uint8_t>(), 7);
  EXPECT_EQ(in.get<int64_t>(), -3);
  EXPECT_EQ(in.get<double>(), 2.5);
  EXPECT_EQ(in.text(), "text");
  EXPECT_EQ(in.text(), "");
  in.done();
}

TEST(Codec, CutMessageIsAnError) {
  Bytes message = Encoder().put("hello").take();
  message.pop_back();
  EXPECT_THROW(Decoder(message).text(), Error);
}

TEST(Codec, LengthBeyondTheMessageIsAnError) {
  const Bytes message = Encoder().put(uint32_t{0xffffffff}).take();
  EXPECT_THROW(Decoder(message).bytes(), Error);
}

TEST(Codec, TrailingBytesAreAnError) {
  const Bytes message = Encoder().put(uint8_t{1}).put(uint8_t{2}).take();
  Decoder in(message);
  in.get<uint8_t>();
  EXPECT_THROW(in.done(), Error);
}

TEST(Hash, SumIsFreeOfOrderAndCarries) {
  const Hash128 a{1, ~0ull}, b{2, 5};
  Hash128 ab = a, ba = b;
  ab += b;
  ba += a;
  EXPECT_EQ(ab, ba);
  EXPECT_EQ(ab, (Hash128{4, 4}));
}

}  // namespace stoker
