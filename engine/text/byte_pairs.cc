#include "text/byte_pairs.h"

#include <algorithm>
#include <queue>
#include <tuple>

#include "base/error.h"
#include "base/pulse.h"

namespace stoker::text {
namespace {

constexpr size_t kFew = 48;  // up to here looking at all pairs again is faster than a heap
constexpr size_t kBeat = size_t{1} << 16;

std::array<int32_t, 256> bytes_of(const std::vector<std::string>& tokens) {
  std::array<int32_t, 256> out;
  out.fill(-1);
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].size() == 1) out[static_cast<unsigned char>(tokens[id][0])] = static_cast<int32_t>(id);
  }
  const auto missing = std::find(out.begin(), out.end(), -1);
  if (missing != out.end()) fail_user("the vocabulary has no token for the byte ", missing - out.begin());
  return out;
}

void check(const Merge& merge, int64_t size) {
  for (const int64_t id : {merge.left, merge.right, merge.into}) {
    if (id < 0 || id >= size) fail_user("a merge has the number ", id, ", and tokens have those below ", size);
  }
}

/// Symbols that are still there know their neighbours.
struct Link {
  int32_t symbol;  // -1: it went into the one before
  size_t before, after;
};

struct Candidate {
  uint32_t rank;
  size_t at;
  int32_t left, right, into;
  bool operator>(const Candidate& other) const { return std::tie(rank, at) > std::tie(other.rank, other.at); }
};

}  // namespace

BytePairs::BytePairs(const std::vector<std::string>& tokens, const std::vector<Merge>& merges, bool whole)
    : bytes_(bytes_of(tokens)) {
  merges_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& one = merges[rank];
    check(one, static_cast<int64_t>(tokens.size()));
    merges_[key(static_cast<int32_t>(one.left), static_cast<int32_t>(one.right))] = {static_cast<uint32_t>(rank),
                                                                                     static_cast<int32_t>(one.into)};
  }
  std::vector<std::pair<std::string_view, int64_t>> found;
  for (size_t id = 0; id < tokens.size(); ++id) {
    if (tokens[id].empty()) continue;
    if (whole || merged(tokens[id]) == std::vector<int32_t>{static_cast<int32_t>(id)})
      found.emplace_back(tokens[id], static_cast<int64_t>(id));
  }
  whole_ = Trie(std::move(found));
}

const BytePairs::Target* BytePairs::merge(int32_t left, int32_t right) const {
  const auto found = merges_.find(key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BytePairs::read(std::string_view word, std::vector<int64_t>& out) const {
  if (const int64_t id = whole_.id(word); id >= 0) {
    out.push_back(id);
    return;
  }
  const std::vector<int32_t> symbols = merged(word);
  out.insert(out.end(), symbols.begin(), symbols.end());
}

std::vector<int32_t> BytePairs::merged(std::string_view word) const {
  std::vector<int32_t> symbols(word.size());
  std::transform(word.begin(), word.end(), symbols.begin(),
                 [this](char byte) { return bytes_[static_cast<unsigned char>(byte)]; });
  symbols.size() <= kFew ? merge_few(symbols) : merge_many(symbols);
  return symbols;
}

/// The pair of the lowest rank goes first, of several the leftmost.
void BytePairs::merge_few(std::vector<int32_t>& symbols) const {
  std::array<uint32_t, kFew> ranks{};
  std::array<int32_t, kFew> into{};
  const auto look = [&](size_t i) {
    const Target* target = i + 1 < symbols.size() ? merge(symbols[i], symbols[i + 1]) : nullptr;
    ranks[i] = target ? target->rank : UINT32_MAX;
    into[i] = target ? target->into : -1;
  };
  for (size_t i = 0; i < symbols.size(); ++i) look(i);
  while (symbols.size() > 1) {
    const auto end = ranks.begin() + static_cast<ptrdiff_t>(symbols.size()) - 1;
    const auto best = std::min_element(ranks.begin(), end) - ranks.begin();
    if (ranks[best] == UINT32_MAX) return;
    symbols[best] = into[best];
    symbols.erase(symbols.begin() + best + 1);
    std::copy(ranks.begin() + best + 2, end + 1, ranks.begin() + best + 1);
    std::copy(into.begin() + best + 2, into.begin() + (end + 1 - ranks.begin()), into.begin() + best + 1);
    look(best);
    if (best > 0) look(best - 1);
  }
}

/// The same for long words, whose pairs wait in a heap.
void BytePairs::merge_many(std::vector<int32_t>& symbols) const {
  std::vector<Link> links(symbols.size());
  for (size_t i = 0; i < links.size(); ++i) links[i] = {symbols[i], i - 1, i + 1};
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> waiting;
  const auto look = [&](size_t at) {
    if (at >= links.size() || links[at].after >= links.size()) return;
    const int32_t left = links[at].symbol, right = links[links[at].after].symbol;
    if (const Target* target = merge(left, right)) waiting.push({target->rank, at, left, right, target->into});
  };
  for (size_t i = 0; i < links.size(); ++i) look(i);
  for (size_t turn = 1; !waiting.empty(); ++turn) {
    const Candidate best = waiting.top();
    waiting.pop();
    if (turn % kBeat == 0) pulse::beat();
    Link& link = links[best.at];
    if (link.symbol != best.left || link.after >= links.size() || links[link.after].symbol != best.right) continue;
    Link& gone = links[link.after];
    link = {best.into, link.before, gone.after};
    gone.symbol = -1;
    if (link.after < links.size()) links[link.after].before = best.at;
    look(best.at);
    look(link.before);
  }
  symbols.clear();
  for (const Link& link : links) {
    if (link.symbol >= 0) symbols.push_back(link.symbol);
  }
}

}  // namespace stoker::text
