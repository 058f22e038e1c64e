#include "base/level.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"

namespace stoker {

TEST(Level, EnvironmentLowersButNeverRaises) {
  const Level machine = best_level();
  for (const Level limit : {Level::baseline, Level::avx2, Level::avx512}) {
    setenv("STOKER_MAX_ISA", name(limit), 1);
    EXPECT_EQ(best_level(), std::min(machine, limit)) << name(limit);
  }
  setenv("STOKER_MAX_ISA", "sse9", 1);
  EXPECT_THROW(best_level(), Error);
  unsetenv("STOKER_MAX_ISA");
}

TEST(Level, NamesAreReadBack) {
  for (const Level level : {Level::baseline, Level::avx2, Level::avx512}) EXPECT_EQ(parse_level(name(level)), level);
  EXPECT_STREQ(name(static_cast<Level>(7)), "unknown");
}

}  // namespace stoker
