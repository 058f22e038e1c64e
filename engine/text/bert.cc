#include "text/bert.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "text/unicode.h"

namespace stoker::text {
namespace {

bool is_chinese(char32_t c) {
  static constexpr std::pair<char32_t, char32_t> ranges[] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF},
                                                             {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF},
                                                             {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
  return c >= 0x3400 && std::any_of(std::begin(ranges), std::end(ranges),
                                    [c](auto range) { return c >= range.first && c <= range.second; });
}

/// Takes characters one by one and hands on what they become; false, as from `put`: no more are wanted.
template <typename Put>
class Normalizer {
 public:
  Normalizer(const BertRules& rules, Put put) : rules_(rules), put_(std::move(put)) {}

  bool add(char32_t c) {
    if (c < 0x80 && marks_.empty()) return add_ascii(c);
    if (rules_.clean) {
      const uint8_t found = traits(c);
      if (found & kControl) return true;
      if (found & kSpace) c = ' ';
    }
    if (rules_.chinese && is_chinese(c)) return decompose(' ') && decompose(c) && decompose(' ');
    return decompose(c);
  }

  bool end() { return put_marks(); }

 private:
  struct Mark {
    uint8_t order;
    char32_t c;
  };

  bool add_ascii(char32_t c) {
    if (rules_.clean && (c < ' ' || c == 0x7F)) {
      if (c == '\t' || c == '\n' || c == '\r') return put_(' ');
      if (traits(c) & kControl) return true;
    }
    if (rules_.lower && c >= 'A' && c <= 'Z') c += 'a' - 'A';
    return put_(c);
  }

  bool decompose(char32_t c) {
    if (!rules_.accents) return lower(c);
    if (c < 0x80) return arrange(c);
    if (c >= 0xAC00 && c < 0xAC00 + 11172) return decompose_hangul(c - 0xAC00);
    const auto parts = decomposition(c);
    if (parts.empty()) return arrange(c);
    return std::all_of(parts.begin(), parts.end(), [this](int32_t part) { return arrange(part); });
  }

  /// The Unicode Standard, 3.12.
  bool decompose_hangul(char32_t syllable) {
    constexpr char32_t vowels = 21, tails = 28;
    return arrange(0x1100 + syllable / (vowels * tails)) && arrange(0x1161 + syllable % (vowels * tails) / tails) &&
           (syllable % tails == 0 || arrange(0x11A7 + syllable % tails));
  }

  /// Marks that follow each other go by their class.
  bool arrange(char32_t c) {
    const uint8_t order = c < 0x80 ? 0 : combining_class(c);
    if (order == 0) return put_marks() && without_accent(c);
    marks_.push_back({order, c});
    return true;
  }

  bool put_marks() {
    if (marks_.empty()) return true;
    std::stable_sort(marks_.begin(), marks_.end(), [](Mark a, Mark b) { return a.order < b.order; });
    const std::vector<Mark> marks = std::exchange(marks_, {});
    return std::all_of(marks.begin(), marks.end(), [this](Mark mark) { return without_accent(mark.c); });
  }

  bool without_accent(char32_t c) { return (traits(c) & kMark) ? true : lower(c); }

  bool lower(char32_t c) {
    if (!rules_.lower) return put_(c);
    return put_(lowered(c)) && (c != 0x130 || put_(0x307));
  }

  const BertRules& rules_;
  Put put_;
  std::vector<Mark> marks_;  // that wait to be put in order
};

template <typename Put>
bool normalize(std::string_view text, const BertRules& rules, Put put) {
  Normalizer<Put> normalizer(rules, std::move(put));
  for (size_t at = 0; at < text.size();) {
    if (!normalizer.add(next(text, at))) return false;
  }
  return normalizer.end();
}

/// Puts characters together to words.
class Words {
 public:
  Words(size_t most, const TakeWord& take) : most_(most), take_(take) {}

  bool add(char32_t c) {
    const uint8_t found = traits(c);
    if (found & kSpace) return end();
    if (found & kPunctuation) return end() && grow(c) && end();
    return grow(c);
  }

  bool end() {
    if (characters_ == 0) return true;
    const bool more = take_(characters_ > most_ ? std::string_view() : word_);
    word_.clear();
    characters_ = 0;
    return more;
  }

 private:
  bool grow(char32_t c) {
    if (++characters_ <= most_) append(c, word_);
    return true;
  }

  size_t most_;
  const TakeWord& take_;
  std::string word_;
  size_t characters_ = 0;
};

}  // namespace

std::string normalized(std::string_view text, const BertRules& rules) {
  std::string out;
  normalize(text, rules, [&](char32_t c) {
    append(c, out);
    return true;
  });
  return out;
}

bool words(std::string_view text, const BertRules& rules, size_t most, const TakeWord& take) {
  Words found(most, take);
  return normalize(text, rules, [&](char32_t c) { return found.add(c); }) && found.end();
}

bool words(std::string_view normalized, size_t most, const TakeWord& take) {
  Words found(most, take);
  for (size_t at = 0; at < normalized.size();) {
    if (!found.add(next(normalized, at))) return false;
  }
  return found.end();
}

}  // namespace stoker::text
