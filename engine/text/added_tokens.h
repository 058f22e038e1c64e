#pragma once
// Tokens that are found in a text as they are, before it is cut into words: "[CLS]", "<mask>". Immutable; any thread.
#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace stoker::text {

struct AddedToken {
  std::string content;
  int64_t id = 0;
  bool strips_left = false;  // takes the spaces before it
  bool strips_right = false;
};

class AddedTokens {
 public:
  using TakeText = std::function<bool(std::string_view)>;
  using TakeToken = std::function<bool(int64_t)>;

  AddedTokens() = default;
  /// REQUIRES: no content is empty.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }

  /// The tokens in a text, the leftmost first and of several the longest, and what lies around them, in order. False
  /// where one of the two said so, after which none is called.
  bool split(std::string_view text, const TakeText& take_text, const TakeToken& take_token) const;

 private:
  const AddedToken* at(std::string_view rest) const;

  std::vector<AddedToken> tokens_;  // long ones first
  std::array<bool, 256> begins_{};
};

}  // namespace stoker::text
