#include "text/unicode.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <vector>

namespace stoker::text {
namespace {

#include "text/unicode_tables.inc"

constexpr char32_t kEnd = 0x110000;

/// A value for each character, of (first of a run, value) pairs.
std::vector<uint8_t> spread(std::span<const int32_t> runs) {
  std::vector<uint8_t> out(kEnd);
  for (size_t i = 0; i < runs.size(); i += 2) {
    const size_t end = i + 2 < runs.size() ? static_cast<size_t>(runs[i + 2]) : kEnd;
    std::fill(out.begin() + runs[i], out.begin() + end, static_cast<uint8_t>(runs[i + 1]));
  }
  return out;
}

using Decompositions = std::unordered_map<char32_t, std::span<const int32_t>>;

Decompositions decompositions() {
  Decompositions out;
  const std::span<const int32_t> all(kDecompositions);
  for (size_t i = 0; i < all.size(); i += 2 + all[i + 1]) out[all[i]] = all.subspan(i + 2, all[i + 1]);
  return out;
}

struct LowerRun {
  int32_t first, last, step, way;
};

/// The last run that does not begin behind c. REQUIRES: there is one.
LowerRun lower_run(int32_t c) {
  static constexpr std::span<const int32_t> all(kLowerRuns);
  size_t low = 0, high = all.size() / 4;
  while (high - low > 1) {
    const size_t middle = (low + high) / 2;
    (all[4 * middle] <= c ? low : high) = middle;
  }
  return {all[4 * low], all[4 * low + 1], all[4 * low + 2], all[4 * low + 3]};
}

/// A replacement that is in the text as such counts as no fault.
bool faulty(std::string_view character) { return character != "\xEF\xBF\xBD"; }

}  // namespace

uint8_t traits(char32_t c) {
  static const std::vector<uint8_t> all = spread(kTraitRuns);
  return all[c];
}

uint8_t combining_class(char32_t c) {
  static const std::vector<uint8_t> all = spread(kClassRuns);
  return all[c];
}

std::span<const int32_t> decomposition(char32_t c) {
  static const Decompositions all = decompositions();
  const auto found = all.find(c);
  return found == all.end() ? std::span<const int32_t>() : found->second;
}

char32_t next(std::string_view text, size_t& at) {
  const auto first = static_cast<unsigned char>(text[at++]);
  if (first < 0x80) return first;
  if (first < 0xC2 || first > 0xF4) return kReplacement;
  const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
  unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  char32_t c = first & (0x3F >> more);
  for (int i = 0; i < more; ++i) {
    const auto byte = at < text.size() ? static_cast<unsigned char>(text[at]) : 0;
    if (byte < low || byte > high) return kReplacement;
    c = (c << 6) | (byte & 0x3F);
    ++at;
    low = 0x80;
    high = 0xBF;
  }
  return c;
}

void append(char32_t c, std::string& out) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c >= 0x10000) {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
  } else if (c >= 0x800) {
    put(0xE0 | (c >> 12));
  }
  put(c >= 0x800 ? 0x80 | ((c >> 6) & 0x3F) : 0xC0 | (c >> 6));
  put(0x80 | (c & 0x3F));
}

std::string_view valid(std::string_view text, std::string& room) {
  size_t kept = 0;  // up to here it is in `room`, where anything is
  room.clear();
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (next(text, at) != kReplacement || !faulty(text.substr(begin, at - begin))) continue;
    room.append(text.substr(kept, begin - kept));
    append(kReplacement, room);
    kept = at;
  }
  if (kept == 0) return text;
  room.append(text.substr(kept));
  return room;
}

char32_t lowered(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
  if (c == 0x130) return 'i';
  const auto code = static_cast<int32_t>(c);
  const LowerRun run = lower_run(code);
  return code <= run.last && (code - run.first) % run.step == 0 ? static_cast<char32_t>(code + run.way) : c;
}

}  // namespace stoker::text
