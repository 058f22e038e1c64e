#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "text/bert.h"
#include "text/gpt_split.h"
#include "text/trie.h"
#include "text/unicode.h"

namespace stoker::text {
namespace {

std::vector<std::string> gpt_words(std::string_view text) {
  std::vector<std::string> out;
  for (; !text.empty(); text.remove_prefix(out.back().size())) out.emplace_back(text.substr(0, gpt_word(text)));
  return out;
}

std::vector<std::string> bert_words(std::string_view text, size_t most = 100) {
  std::vector<std::string> out;
  words(text, BertRules(), most, [&](std::string_view word) {
    out.emplace_back(word);
    return true;
  });
  return out;
}

std::string why_not(const std::string& description) {
  try {
    parse_tokenizer(description);
  } catch (const Error& error) {
    return error.kind() == ErrorKind::user ? error.what() : "another kind";
  }
  return "none";
}

using Words = std::vector<std::string>;

TEST(Unicode, EachBeginningOfACharacterIsReplacedOnce) {
  std::string room;
  EXPECT_EQ(valid("a\xE2\x82z\xF0\x9F\x99", room), "a\xEF\xBF\xBDz\xEF\xBF\xBD");
  EXPECT_EQ(valid("\xED\xA0\x80", room), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(valid("\xC3", room), "\xEF\xBF\xBD");
  const std::string_view good = "é\xEF\xBF\xBD🙂";
  EXPECT_EQ(valid(good, room).data(), good.data());
}

TEST(Unicode, CharactersComeBack) {
  for (const char32_t c : {0x0U, 0x7FU, 0x80U, 0x7FFU, 0x800U, 0xFFFDU, 0x10000U, 0x10FFFFU}) {
    std::string bytes;
    append(c, bytes);
    size_t at = 0;
    EXPECT_EQ(next(bytes, at), c);
    EXPECT_EQ(at, bytes.size());
  }
}

TEST(Bert, WordsEndAtSpacesPunctuationAndChinese) {
  EXPECT_EQ(bert_words(" It's  Größe\t汉字x\n"), (Words{"it", "'", "s", "große", "汉", "字", "x"}));
  EXPECT_EQ(bert_words("abc abcd", 3), (Words{"abc", ""}));
  EXPECT_TRUE(bert_words(" \n").empty());
  EXPECT_EQ(normalized("Ça\x01 İ", {true, true, false, true}), "ça i\u0307");
}

TEST(Gpt, WordsTakeTheBlankBeforeThem) {
  EXPECT_EQ(gpt_words("it's  12x!\n\n é "), (Words{"it", "'s", " ", " 12", "x", "!", "\n\n", " é", " "}));
  EXPECT_EQ(gpt_words("\ta ''s"), (Words{"\t", "a", " ''", "s"}));
}

TEST(Trie, TheLongestWordIsFoundAndTheLaterOfTwo) {
  const Trie trie({{"a", 1}, {"abc", 2}, {"b", 3}, {"a", 4}});
  EXPECT_EQ(trie.longest("abd").id, 4);
  EXPECT_EQ(trie.longest("abcd").length, 3U);
  EXPECT_EQ(trie.longest("x").length, 0U);
  EXPECT_EQ(trie.id("ab"), -1);
  EXPECT_EQ(Trie().id("a"), -1);
}

TEST(Descriptions, ThatAreWrongAreToldInWords) {
  EXPECT_NE(why_not("{").find("this describes no tokenizer"), std::string::npos);
  const std::string around = R"(, "before": [], "after": [], "added": []})";
  EXPECT_EQ(
      why_not(R"({"kind": "bpe", "tokens": ["YQ=="], "merges": [], "whole": false, "blank_first": false)" + around),
      "the vocabulary has no token for the byte 0");
  EXPECT_EQ(why_not(R"({"kind": "wordpiece", "tokens": ["a"], "unknown": 1)" + around),
            "a token has the number 1, and there are those below 1");
  for (const char* number : {"7e42", "1.0", "18446744073709551615", "null", "\"1\"", "true"}) {
    const std::string with = std::string(R"({"kind": "wordpiece", "tokens": ["a"], "unknown": )") + number + around;
    EXPECT_NE(why_not(with).find("is no whole number"), std::string::npos) << with;
  }
  const std::string last = R"(, "before": [], "after": [], "added": [{"id": 9223372036854775807}]})";
  EXPECT_EQ(why_not(R"({"kind": "wordpiece", "tokens": ["a"], "unknown": 0)" + last),
            "tokens have numbers up to 9223372036854775807");
}

}  // namespace
}  // namespace stoker::text
