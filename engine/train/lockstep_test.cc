#include "train/lockstep.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "base/error.h"

namespace stoker::train {

TEST(Lockstep, BodiesRunFromPointToPointInTheirOrder) {
  Lockstep together(1);
  std::string said;
  std::vector<Lockstep::Body> bodies;
  for (const char name : {'a', 'b', 'c'})
    bodies.emplace_back([&said, &together, name] {
      for (int i = 0; i < 2; ++i) {
        said += name;
        together.point();
      }
      said += name;
    });
  for (int run = 0; run < 2; ++run) together.run(bodies, [&] { said += '|'; });
  EXPECT_EQ(said, "abc|abc|abcabc|abc|abc");
  bodies.pop_back();
  said.clear();
  together.run(bodies, [&] { said += '|'; });
  EXPECT_EQ(said, "ab|ab|ab");
}

TEST(Lockstep, WithoutBodiesNothingMeets) {
  Lockstep together(1);
  together.run({}, [] { FAIL(); });
}

TEST(Lockstep, WhatOneThrowsEndsAll) {
  Lockstep together(1);
  int ended = 0;
  struct Count {
    int& number;
    ~Count() { ++number; }
  };
  const auto waits = [&] {
    const Count count{ended};
    together.point();
    FAIL();
  };
  const auto fails = [&] { throw std::runtime_error("no"); };
  EXPECT_THROW(together.run({waits, fails, waits}, [] {}), std::runtime_error);
  EXPECT_EQ(ended, 1);  // the third has not begun
  EXPECT_THROW(together.run({waits, waits}, [] { throw std::runtime_error("the others are gone"); }),
               std::runtime_error);
  EXPECT_EQ(ended, 3);
}

TEST(Lockstep, MeetingUnequallyOftenIsABug) {
  Lockstep together(1);
  EXPECT_THROW(together.run({[&] { together.point(); }, [] {}}, [] {}), Error);
}

}  // namespace stoker::train
