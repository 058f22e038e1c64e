#include "net/frame.h"

#include <gtest/gtest.h>

#include <random>

namespace stoker::net {
namespace {

Bytes body_of(size_t size) {
  Bytes body(size);
  for (size_t i = 0; i < size; ++i) body[i] = static_cast<std::byte>(i * 31);
  return body;
}

Bytes joined(const std::vector<Bytes>& parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

/// One direction of a link.
struct Line {
  explicit Line(bool encrypts = false, size_t max_body = 1000)
      : out(Seal::Way::out, Bytes(32), encrypts), reader(max_body, Seal(Seal::Way::in, Bytes(32), encrypts)) {}
  Bytes sealed(uint16_t kind, ByteView body) {
    Bytes frame = encode_frame(kind, kind + 7, body, 2000);
    seal_frame(out, frame);
    return frame;
  }
  std::vector<Frame> read(ByteView stream, size_t step) {
    std::vector<Frame> frames;
    for (size_t at = 0; at < stream.size(); at += step)
      reader.feed(stream.subspan(at, std::min(step, stream.size() - at)),
                  [&](Frame f) { frames.push_back(std::move(f)); });
    return frames;
  }
  /// What it says to this stream: how many frames it took, and why no more.
  std::string answer(ByteView stream) {
    size_t taken = 0;
    std::string why = reader.inside_frame() ? "inside a frame" : "all";
    try {
      reader.feed(stream, [&](const Frame&) { ++taken; });
      why = reader.inside_frame() ? "cut" : "all";
    } catch (const Error& error) {
      why = error.what();
    }
    return cat(taken, ", ", why);
  }
  Seal out;
  FrameReader reader;
};

const std::string kWrongHeader = "a frame is not what the other side sent next: its header was spoilt, moved or forged";
const std::string kWrongBody = "a frame of kind 1 is not what the other side sent: it was spoilt or forged";

}  // namespace

TEST(Frame, ComesWholeHoweverTheStreamIsCut) {
  for (const bool encrypts : {false, true})
    for (const size_t step : {size_t{1}, size_t{7}, kFrameHeader, size_t{1019}, size_t{1} << 20}) {
      Line line(encrypts);
      std::vector<Bytes> sent;
      for (const size_t size : {0, 1, 999, 1000, 0}) sent.push_back(line.sealed(size, body_of(size)));
      const auto frames = line.read(joined(sent), step);
      ASSERT_EQ(frames.size(), 5u) << step;
      EXPECT_FALSE(line.reader.inside_frame());
      for (const Frame& frame : frames) {
        EXPECT_EQ(frame.body, body_of(frame.kind)) << step;
        EXPECT_EQ(frame.generation, frame.kind + 7u);
      }
    }
}

TEST(Frame, TooLargeIsRefusedAtBothEnds) {
  EXPECT_THROW(encode_frame(1, 1, body_of(1001), 1000), Error);
  Line line;
  const Bytes large = line.sealed(1, body_of(1001));
  EXPECT_EQ(line.answer(ByteView(large).first(kFrameHeader)), "0, a frame of 1001 bytes; at most 1000 are allowed");
}

TEST(Frame, RandomBytesNeverMakeAFrame) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) {
    Bytes noise(kFrameHeader + i);
    for (auto& byte : noise) byte = static_cast<std::byte>(random());
    EXPECT_EQ(Line().answer(noise), "0, a frame with a wrong magic or version");
  }
}

TEST(Frame, EachBitThatIsSpoiltEndsTheStream) {
  for (const bool encrypts : {false, true}) {
    const Bytes frame = Line(encrypts).sealed(1, body_of(20));
    for (size_t bit = 0; bit < 8 * frame.size(); ++bit) {
      Bytes spoilt = frame;
      spoilt[bit / 8] ^= std::byte{1} << bit % 8;
      const std::string answer = Line(encrypts).answer(spoilt);
      const std::string wanted = bit < 8 * kFrameHeader ? "0, a frame " : "0, " + kWrongBody;
      EXPECT_TRUE(answer.starts_with(wanted)) << bit << answer;
    }
  }
}

TEST(Frame, MovedRepeatedAndLeftOutFramesEndTheStream) {
  Line line;
  const Bytes a = line.sealed(1, body_of(5)), b = line.sealed(1, body_of(5)), empty = line.sealed(1, {});
  EXPECT_EQ(Line().answer(joined({a, b, empty})), "3, all");
  EXPECT_EQ(Line().answer(joined({b, a})), "0, " + kWrongHeader);
  EXPECT_EQ(Line().answer(joined({a, a})), "1, " + kWrongHeader);
  EXPECT_EQ(Line().answer(joined({a, empty})), "1, " + kWrongHeader);
  const size_t head = kFrameHeader;
  const Bytes mixed = joined({Bytes(a.begin(), a.begin() + head), Bytes(b.begin() + head, b.end())});
  EXPECT_EQ(Line().answer(mixed), "0, " + kWrongBody);
}

TEST(Frame, WhatComesFromAnotherKeyEndsTheStream) {
  Line line, other;
  other.out = Seal(Seal::Way::out, Bytes(32, std::byte{1}), false);
  EXPECT_EQ(line.answer(other.sealed(1, body_of(5))), "0, " + kWrongHeader);
}

TEST(Frame, CutStreamIsSeen) {
  const Bytes frame = Line().sealed(1, body_of(10));
  for (size_t n = 1; n < frame.size(); ++n) EXPECT_EQ(Line().answer(ByteView(frame).first(n)), "0, cut") << n;
}

}  // namespace stoker::net
