#include "net/frame.h"

#include <gtest/gtest.h>

#include <random>

#include "base/hash.h"

namespace stoker::net {
namespace {

Bytes body_of(size_t size) {
  Bytes body(size);
  for (size_t i = 0; i < size; ++i) body[i] = static_cast<std::byte>(i * 31);
  return body;
}

std::vector<Frame> read(ByteView stream, size_t step, size_t max_body = 1000) {
  FrameReader reader(max_body);
  std::vector<Frame> frames;
  for (size_t at = 0; at < stream.size(); at += step) {
    reader.feed(stream.subspan(at, std::min(step, stream.size() - at)),
                [&](Frame f) { frames.push_back(std::move(f)); });
  }
  EXPECT_FALSE(reader.inside_frame());
  return frames;
}

}  // namespace

TEST(Frame, ComesWholeHoweverTheStreamIsCut) {
  Bytes stream;
  for (const size_t size : {0, 1, 999, 1000, 0}) {
    const Bytes frame = encode_frame(static_cast<uint16_t>(size), size + 7, body_of(size), 1000);
    stream.insert(stream.end(), frame.begin(), frame.end());
  }
  for (const size_t step : {size_t{1}, size_t{7}, kFrameHeader, size_t{1019}, stream.size()}) {
    const auto frames = read(stream, step);
    ASSERT_EQ(frames.size(), 5u) << step;
    for (const Frame& frame : frames) {
      EXPECT_EQ(frame.body, body_of(frame.kind)) << step;
      EXPECT_EQ(frame.generation, frame.kind + 7u);
    }
  }
}

TEST(Frame, BytesAreThoseOfTheDocument) {
  const Bytes frame = encode_frame(7, 2, as_bytes("hi"), 1000);
  const std::string expected("STF\x02\x07\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00", 20);
  EXPECT_EQ(to_string(ByteView(frame).first(20)), expected);
  const Bytes check = Encoder().put(checksum(as_bytes(expected), checksum(as_bytes("hi")))).take();
  EXPECT_EQ(to_string(ByteView(frame).subspan(20)), to_string(check) + "hi");
}

TEST(Frame, TooLargeIsRefusedAtBothEnds) {
  EXPECT_THROW(encode_frame(1, 1, body_of(1001), 1000), Error);
  const Bytes large = encode_frame(1, 1, body_of(1001), 2000);
  FrameReader reader(1000);
  EXPECT_THROW(reader.feed(ByteView(large).first(kFrameHeader), [](Frame) { FAIL(); }), Error);
}

TEST(Frame, EachWrongByteOfTheMagicIsRefused) {
  for (const size_t at : {0, 1, 2, 3, 6, 7}) {
    Bytes frame = encode_frame(1, 1, {}, 1000);
    frame[at] ^= std::byte{0x40};
    FrameReader reader(1000);
    EXPECT_THROW(reader.feed(frame, [](Frame) { FAIL(); }), Error) << at;
  }
}

TEST(Frame, RandomBytesNeverMakeAFrame) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    Bytes noise(kFrameHeader + i);
    for (auto& byte : noise) byte = static_cast<std::byte>(random());
    FrameReader reader(1000);
    EXPECT_THROW(reader.feed(noise, [](Frame) { FAIL(); }), Error);
  }
}

TEST(Frame, EachBitThatIsSpoiltIsSeen) {
  const Bytes frame = encode_frame(7, 2, body_of(20), 1000);
  for (size_t bit = 0; bit < 8 * frame.size(); ++bit) {
    Bytes spoilt = frame;
    spoilt[bit / 8] ^= std::byte{1} << bit % 8;
    FrameReader reader(1000);
    bool refused = false;
    try {
      reader.feed(spoilt, [](Frame) { FAIL(); });
    } catch (const Error&) {
      refused = true;
    }
    EXPECT_TRUE(refused || reader.inside_frame()) << bit;  // a greater length waits for more
  }
}

TEST(Frame, CutStreamIsSeen) {
  const Bytes frame = encode_frame(1, 1, body_of(10), 1000);
  for (size_t n = 1; n < frame.size(); ++n) {
    FrameReader reader(1000);
    reader.feed(ByteView(frame).first(n), [](Frame) { FAIL(); });
    EXPECT_TRUE(reader.inside_frame()) << n;
  }
}

}  // namespace stoker::net
