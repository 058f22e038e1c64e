#include "base/base64.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace stoker {
namespace {

TEST(Base64, GivesTheBytesBack) {
  EXPECT_EQ(decode_base64(""), "");
  EXPECT_EQ(decode_base64("AA=="), std::string(1, '\0'));
  EXPECT_EQ(decode_base64("Zm9vYmE="), "fooba");
  EXPECT_EQ(decode_base64("Zm9vYmFy"), "foobar");
}

TEST(Base64, OtherTextIsAnError) {
  for (const char* text : {"A", "Zm9v!mFy", "Zm9v=mFy", "====", "Zm9vYg=", "Zm9vY===", " m9vYmFy", "Zm9vYg=\n"})
    EXPECT_THROW(decode_base64(text), Error) << text;
}

}  // namespace
}  // namespace stoker
