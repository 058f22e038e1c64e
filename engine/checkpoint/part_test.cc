#include "checkpoint/part.h"

#include <gtest/gtest.h>

#include <numeric>

namespace stoker::checkpoint {
namespace {

Bytes numbered(size_t bytes) {
  Bytes out(bytes);
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 7 + 1);
  return out;
}

Bytes whole(uint64_t commit, Range range, const Bytes& payload) {
  Bytes file = encode(make_head(commit, range, payload));
  file.insert(file.end(), payload.begin(), payload.end());
  return file;
}

std::string complaint(ByteView file) {
  try {
    check_part(file);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::world);
    return error.what();
  }
  return "none";
}

}  // namespace

TEST(Part, WhatWasWrittenIsRead) {
  const auto head = check_part(whole(9, {64, 164}, numbered(100)));
  EXPECT_EQ(std::tuple(head.commit, head.range.begin, head.range.end), std::tuple(9u, 64u, 164u));
}

TEST(Part, AStateWithoutBytesHasWholeParts) { EXPECT_EQ(check_part(whole(1, {0, 0}, {})).range.size(), 0u); }

TEST(Part, TornAnywhereItIsRefused) {
  const Bytes file = whole(9, {0, 100}, numbered(100));
  for (size_t bytes = 0; bytes < file.size(); ++bytes)
    EXPECT_NE(complaint(ByteView(file).first(bytes)), "none") << bytes << " bytes";
  EXPECT_EQ(complaint(file), "none");
}

TEST(Part, ABitThatChangedAnywhereIsSeen) {
  Bytes file = whole(9, {0, 100}, numbered(100));
  for (size_t bit = 0; bit < 8 * file.size(); ++bit) {
    const auto mask = static_cast<std::byte>(1 << bit % 8);
    file[bit / 8] ^= mask;
    EXPECT_NE(complaint(file), "none") << "bit " << bit;
    file[bit / 8] ^= mask;
  }
}

TEST(Part, WhatIsWrongIsSaidInWords) {
  const Bytes file = whole(9, {0, 100}, numbered(100));
  EXPECT_EQ(complaint(numbered(200)), "it is no part of a Stoker checkpoint");
  EXPECT_EQ(complaint(ByteView(file).first(20)), "it is cut short: 20 bytes, less than a part's head");
  EXPECT_EQ(complaint(ByteView(file).first(130)), "it has 82 bytes of state and should have 100");
  Bytes newer = file;
  newer[4] = std::byte{2};
  EXPECT_EQ(complaint(newer), "it has version 2 of the format; this Stoker reads 1");
}

TEST(Part, ThePageShowsThisPart) {  // docs/formats/checkpoint.md
  const Bytes payload = {std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
  EXPECT_EQ(hex(make_head(121, {64, 68}, payload).digest), "1cfc146c17c61f7e6f298e45bc2ef3c4");
}

TEST(Part, RangesOfAnyNumberOfPartsAreTheWholeImage) {
  for (const uint64_t bytes : {0, 1, 63, 64, 65, 1000, 4096})
    for (int of = 1; of <= 9; ++of) {
      uint64_t at = 0;
      for (int part = 0; part < of; ++part) {
        const auto range = part_range(bytes, part, of);
        EXPECT_EQ(range.begin, at);
        at = range.end;
      }
      EXPECT_EQ(at, bytes) << of << " parts";
    }
}

TEST(Part, AnotherCutOfTheImageIsTheSameImage) {
  Bytes first = numbered(130), empty, last = numbered(77);
  const Image image = {first, empty, last};
  for (int of = 1; of <= 5; ++of) {
    Bytes a(130), b, c(77);
    for (int part = 0; part < of; ++part) {
      const auto range = part_range(image_bytes(image), part, of);
      Bytes copy(range.size());
      copy_out(image, range, copy.data());
      copy_in(copy, range, {a, b, c});
    }
    EXPECT_EQ(a, first);
    EXPECT_EQ(c, last);
  }
}

}  // namespace stoker::checkpoint
