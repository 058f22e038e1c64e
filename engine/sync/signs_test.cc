#include "sync/signs.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/error.h"

namespace stoker::sync {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Message {
  SignsHead head;
  std::vector<uint64_t> words;
  ByteView bytes(size_t floats) const {
    return std::as_bytes(std::span(words)).first(signs_bytes(head, static_cast<int64_t>(floats)));
  }
};

Message taken(std::vector<float>& vector, float step, float limit = kInfinity) {
  const auto floats = static_cast<int64_t>(vector.size());
  Message message{{}, std::vector<uint64_t>(signs_room(floats) / 8 + 1)};
  message.head = take_signs(vector.data(), floats, step, limit, std::as_writable_bytes(std::span(message.words)));
  return message;
}

std::vector<float> told(const Message& message, size_t floats) {
  std::vector<float> out(floats);
  add_signs(message.bytes(floats), static_cast<int64_t>(floats), {0, static_cast<int64_t>(floats)}, out.data());
  return out;
}

std::vector<float> zeros_but(size_t floats, const std::vector<std::pair<size_t, float>>& numbers) {
  std::vector<float> out(floats);
  for (const auto& [at, value] : numbers) out[at] = value;
  return out;
}

std::vector<float> normals(size_t floats) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> vector(floats);
  for (float& x : vector) x = normal(random);
  return vector;
}

}  // namespace

TEST(Signs, WhatReachesTheThresholdIsToldAsTheThreshold) {
  auto vector = zeros_but(1024, {{3, 2.5F}, {700, -2}, {701, 1.5F}, {1023, -7}});
  const Message message = taken(vector, 2);
  EXPECT_EQ(message.head.count, 3);
  EXPECT_EQ(message.bytes(1024).size(), 8 + 3 * 4);
  EXPECT_EQ(told(message, 1024), zeros_but(1024, {{3, 2}, {700, -2}, {1023, -2}}));
  EXPECT_EQ(vector, zeros_but(1024, {{3, 0.5F}, {701, 1.5F}, {1023, -5}}));
}

TEST(Signs, OfWhatIsLeftNoMoreThanTheLimitStays) {
  auto vector = zeros_but(1024, {{3, 2.5F}, {4, 50}, {5, -9}});
  taken(vector, 2, 6);
  EXPECT_EQ(vector, zeros_but(1024, {{3, 0.5F}, {4, 6}, {5, -6}}));
}

TEST(Signs, ManyAreToldInTwoBitsOfEachNumber) {
  for (const float step : {2.0F, 1.0F, 0.01F, 1e-9F}) {
    const auto whole = normals(5 * 1024);
    auto vector = whole;
    const Message message = taken(vector, step);
    EXPECT_LE(message.bytes(whole.size()).size(), 8 + whole.size() / 4);
    const auto said = told(message, whole.size());
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_EQ(said[i], std::abs(whole[i]) < step ? 0 : std::copysign(step, whole[i]));
      EXPECT_EQ(vector[i], whole[i] - said[i]);
    }
  }
}

TEST(Signs, BothWaysMeetWhereTheyAreEquallyLong) {
  for (const size_t count : {63, 64, 65}) {
    std::vector<float> vector(1024);
    for (size_t i = 0; i < count; ++i) vector[15 * i] = i % 2 == 0 ? 1 : -1;
    const auto whole = vector;
    const Message message = taken(vector, 1);
    EXPECT_EQ(message.bytes(1024).size(), 8 + std::min<size_t>(count, 64) * 4);
    EXPECT_EQ(told(message, 1024), whole);
  }
}

TEST(Signs, PartsAreTheWhole) {
  for (const float step : {2.5F, 0.5F}) {
    auto vector = normals(5 * 1024);
    const Message message = taken(vector, step);
    std::vector<float> parts(vector.size());
    for (int64_t begin = 0; begin < 5 * 1024; begin += 700)
      add_signs(message.bytes(parts.size()), 5 * 1024, {begin, std::min<int64_t>(begin + 700, 5 * 1024)}, parts.data());
    EXPECT_EQ(parts, told(message, vector.size()));
  }
}

TEST(Signs, AVectorThatIsNotFiniteIsToldAsSuchWithoutItsPadding) {
  for (const float bad : {std::nanf(""), kInfinity, -kInfinity}) {
    auto vector = zeros_but(1024, {{7, bad}, {9, 1}, {11, 5}});
    const auto said = told(taken(vector, 2), 1024);
    EXPECT_TRUE(std::isnan(said[7]) && std::isnan(said[11]));
    EXPECT_EQ(said[9], 0);
    EXPECT_EQ(said[1023], 0);
    EXPECT_EQ(vector[1023], 0);
  }
}

TEST(Signs, AMessageThatIsShorterThanItSaysIsRefused) {
  auto vector = zeros_but(1024, {{3, 2.5F}, {700, -2}});
  const Message message = taken(vector, 2);
  for (size_t bytes = 0; bytes < message.bytes(1024).size(); ++bytes)
    EXPECT_THROW(add_signs(message.bytes(1024).first(bytes), 1024, {0, 1024}, vector.data()), Error) << bytes;
}

TEST(Signs, NothingIsToldByAThresholdOfNothingOrOfNothing) {
  for (const float step : {0.0F, -1.0F, std::nanf("")}) {
    auto vector = normals(1024);
    const auto whole = vector;
    const Message message = taken(vector, step);
    EXPECT_EQ(message.bytes(1024).size(), 8);
    EXPECT_EQ(told(message, 1024), std::vector<float>(1024));
    EXPECT_EQ(vector, whole);
  }
  std::vector<float> none;
  EXPECT_EQ(taken(none, 1).head.count, 0);
  std::vector<float> zeros(1024);
  EXPECT_EQ(taken(zeros, 1e-30F).head.count, 0);
}

}  // namespace stoker::sync
