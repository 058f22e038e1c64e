#include "text/gpt_split.h"

#include <algorithm>
#include <array>

#include "text/unicode.h"

namespace stoker::text {
namespace {

constexpr uint8_t kKinds = kSpace | kLetter | kNumber;  // none of them: all other characters

uint8_t kind_of(char32_t c) { return traits(c) & kKinds; }

size_t contraction(std::string_view text) {
  static constexpr std::array<std::string_view, 7> all = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  if (text.front() != '\'') return 0;
  const auto found = std::find_if(all.begin(), all.end(), [&](auto one) { return text.starts_with(one); });
  return found == all.end() ? 0 : found->size();
}

/// Behind all characters of a kind from `at` on; `last` is where the last of them begins.
size_t run(std::string_view text, size_t at, uint8_t kind, size_t& last) {
  while (at < text.size()) {
    size_t after = at;
    if (kind_of(next(text, after)) != kind) break;
    last = at;
    at = after;
  }
  return at;
}

}  // namespace

size_t gpt_word(std::string_view text) {
  if (const size_t length = contraction(text)) return length;
  size_t last = 0;
  const size_t begin = text.front() == ' ' && text.size() > 1 ? 1 : 0;  // a blank goes with the word behind it
  size_t after = begin;
  const uint8_t kind = kind_of(next(text, after));
  if (kind != kSpace) return run(text, begin, kind, last);
  const size_t end = run(text, 0, kSpace, last);
  return end == text.size() || last == 0 ? end : last;  // the last space goes with what follows, or by itself
}

}  // namespace stoker::text
