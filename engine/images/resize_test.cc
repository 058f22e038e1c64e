#include "images/resize.h"

#include <gtest/gtest.h>

#include <numeric>

#include "images/decode.h"

namespace stoker::images {
namespace {

std::vector<uint8_t> resized(const std::vector<uint8_t>& pixels, Size from, int channels, Box box, Size to) {
  std::vector<uint8_t> planes(to.pixels() * channels);
  Resizer().resize({pixels.data(), from, channels}, box, to, planes.data());
  return planes;
}

Box whole(Size size) { return {0, 0, static_cast<double>(size.width), static_cast<double>(size.height)}; }

TEST(Resize, TheSameSizeOnlyDealsChannelsIntoPlanes) {
  const std::vector<uint8_t> pixels{1, 2, 3, 4, 5, 6};
  EXPECT_EQ(resized(pixels, {1, 2}, 3, whole({1, 2}), {1, 2}), (std::vector<uint8_t>{1, 4, 2, 5, 3, 6}));
}

TEST(Resize, OnePixelFillsAnySize) {
  EXPECT_EQ(resized({7}, {1, 1}, 1, whole({1, 1}), {2, 3}), std::vector<uint8_t>(6, 7));
  EXPECT_EQ(resized({7, 8, 9}, {1, 1}, 3, whole({1, 1}), {1, 1}), (std::vector<uint8_t>{7, 8, 9}));
}

TEST(Resize, EvenlyColouredPicturesStayAsTheyAre) {
  for (const int value : {0, 1, 254, 255})
    for (const Size to : {Size{1, 1}, Size{5, 3}, Size{40, 70}}) {
      const std::vector<uint8_t> pixels(31 * 17, static_cast<uint8_t>(value));
      EXPECT_EQ(resized(pixels, {31, 17}, 1, whole({31, 17}), to),
                std::vector<uint8_t>(to.pixels(), static_cast<uint8_t>(value)));
    }
}

TEST(Resize, ShrinkingWeighsAllNeighbours) {
  // A half: each result sees four pixels, weighted 1, 3, 3, 1; those beyond the edges are left out.
  EXPECT_EQ(resized({0, 80, 160, 240}, {1, 4}, 1, whole({1, 4}), {1, 2}), (std::vector<uint8_t>{57, 183}));
}

TEST(Resize, AResizerThatIsUsedAgainForOtherShapesForgetsTheOldOnes) {
  Resizer used;
  std::vector<uint8_t> pixels(300);
  std::iota(pixels.begin(), pixels.end(), uint8_t{0});
  for (const auto& [from, to] :
       {std::pair(Size{10, 10}, Size{3, 7}), std::pair(Size{5, 20}, Size{7, 3}), std::pair(Size{10, 10}, Size{3, 7})}) {
    std::vector<uint8_t> planes(to.pixels() * 3);
    used.resize({pixels.data(), from, 3}, whole(from), to, planes.data());
    EXPECT_EQ(planes, resized(pixels, from, 3, whole(from), to));
  }
}

TEST(Resize, CoveringTakesTheMiddleInTheWantedShape) {
  const Box wide = cover({0, 0, 40, 10}, {5, 5});
  EXPECT_EQ(wide.left, 15);
  EXPECT_EQ(wide.right, 25);
  EXPECT_EQ(wide.top, 0);
  EXPECT_EQ(wide.bottom, 10);
  const Box tall = cover({0, 0, 10, 40}, {10, 5});
  EXPECT_EQ(tall.top, 10);
  EXPECT_EQ(tall.bottom, 30);
}

std::string complaint(const std::string& file) {
  Image out;
  try {
    decode(std::as_bytes(std::span(file)), {3, {1, 1}, 1000}, out);
  } catch (const BadImage& bad) {
    return bad.what();
  }
  return "none";
}

TEST(Decode, WhatIsNoPictureIsTold) {
  EXPECT_EQ(complaint(""), "is no JPEG, PNG or WebP (0 bytes)");
  EXPECT_EQ(complaint("GIF89a"), "is no JPEG, PNG or WebP (6 bytes, which begin 47 49 46 38)");
  EXPECT_EQ(complaint("RIFF"), "is no JPEG, PNG or WebP (4 bytes, which begin 52 49 46 46)");
}

TEST(Decode, HeadersAloneAreBrokenPictures) {
  EXPECT_EQ(complaint("\xff\xd8\xff"), "is a broken JPEG: Premature end of JPEG file (3 bytes)");
  EXPECT_EQ(complaint("\x89PNG\r\n\x1a\n"), "is a broken PNG: the file ends too soon (8 bytes)");
  EXPECT_EQ(complaint(std::string("RIFF\4\0\0\0WEBP", 12)), "is a broken WebP: its data are damaged (12 bytes)");
}

TEST(Channels, GreyAndColourBecomeEachOther) {
  Image image;
  image.reset({1, 2}, 1);
  image.pixels = {5, 200};
  to_channels(image, 3);
  EXPECT_EQ(image.pixels, (std::vector<uint8_t>{5, 5, 5, 200, 200, 200}));
  to_channels(image, 1);
  EXPECT_EQ(image.pixels, (std::vector<uint8_t>{5, 200}));
  image.reset({1, 1}, 4);
  image.pixels = {255, 0, 0, 9};
  to_channels(image, 1);
  EXPECT_EQ(image.pixels, (std::vector<uint8_t>{76}));
}

}  // namespace
}  // namespace stoker::images
