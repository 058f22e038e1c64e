#include "data/spec/tokenizer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/spec/piece_tokenizer.h"

namespace stoker::data {
namespace {

std::vector<int64_t> ids(const Tokenizer& tokenizer, std::string_view text, size_t most = 100) {
  std::vector<int64_t> out;
  tokenizer.read(text, most, out);
  return out;
}

TEST(Tokenizer, BytesAreNumberedFromOne) {
  EXPECT_EQ(ids(*byte_tokenizer(), std::string_view("\0a\xff", 3)), (std::vector<int64_t>{1, 98, 256}));
  EXPECT_EQ(ids(*byte_tokenizer(), "abc", 2), (std::vector<int64_t>{98, 99}));
  EXPECT_TRUE(ids(*byte_tokenizer(), "").empty());
}

TEST(Tokenizer, WordsEndAtSpaceAndPunctuation) {
  const auto known = std::make_shared<Vocabulary>(std::vector<std::string>{"don", "'", "t", "stop_2", "größe", "!"});
  const auto words = word_tokenizer(known, true);
  EXPECT_EQ(ids(*words, "  DON't stop_2!!\tGröße\n"), (std::vector<int64_t>{1, 2, 3, 4, 6, 6, 5}));
  EXPECT_EQ(ids(*words, "größe größe! x", 3), (std::vector<int64_t>{5, 5, 6}));
  EXPECT_TRUE(ids(*words, " \t\n").empty());
  EXPECT_TRUE(ids(*words, "").empty());
  EXPECT_EQ(ids(*word_tokenizer(known, false), "Don don"), (std::vector<int64_t>{0, 1}));
}

TEST(Tokenizer, BytesThatAreNoModelOfPiecesAreAnError) {
  for (const char* bytes : {"", "no model"}) {
    try {
      piece_tokenizer(bytes, false, false);
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::user) << error.what();
    }
  }
}

TEST(Tokenizer, CapitalsBeyondAsciiStay) {
  const auto known = std::make_shared<Vocabulary>(std::vector<std::string>{"Ärger"});
  EXPECT_EQ(ids(*word_tokenizer(known, true), "ÄRGER"), (std::vector<int64_t>{1}));
}

}  // namespace
}  // namespace stoker::data
