#pragma once
// Characters as tokenizers see them: which are spaces, marks, letters ..., how they are taken apart and lowered. The
// tables are made by scripts/unicode_tables.py. Functions are pure; any thread.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace stoker::text {

/// Bits of traits(), in the order of the script's.
enum Trait : uint8_t {
  kSpace = 1,
  kControl = 2,      // what BERT's cleaning drops
  kPunctuation = 4,  // what BERT takes for it
  kMark = 8,         // dropped with accents
  kLetter = 16,      // \p{L} and \p{N} of the expression that GPT-2 splits by
  kNumber = 32,
};

inline constexpr char32_t kReplacement = 0xFFFD;

uint8_t traits(char32_t c);

/// Its canonical combining class, 0 where it stays where it is.
uint8_t combining_class(char32_t c);

/// What it becomes in canonical decomposition, before marks are put in order; empty: itself. Not for Hangul.
std::span<const int32_t> decomposition(char32_t c);

/// The small letter; of U+0130, which becomes two, the first.
char32_t lowered(char32_t c);

/// The character of UTF-8 text that begins at `at`, which then is behind it. Where bytes are no UTF-8 it is
/// kReplacement, once for each longest beginning of a character (as Python's errors="replace").
char32_t next(std::string_view text, size_t& at);

void append(char32_t c, std::string& out);

/// The text itself, or where it is no UTF-8 one that is, in `room`.
std::string_view valid(std::string_view text, std::string& room);

}  // namespace stoker::text
