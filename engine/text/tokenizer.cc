#include "text/tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/error.h"
#include "base/whole.h"
#include "text/added_tokens.h"
#include "text/bert.h"
#include "text/byte_pairs.h"
#include "text/gpt_split.h"
#include "text/trie.h"
#include "text/unicode.h"

namespace stoker::text {
namespace {

using nlohmann::json;

constexpr int64_t kMostNumbers = int64_t{1} << 30;

/// Numbers, up to so many.
class Numbers {
 public:
  Numbers(std::vector<int64_t>& out, size_t most) : out_(out), end_(out.size() + most) {}
  bool full() const { return out_.size() >= end_; }
  bool put(int64_t id) {
    if (!full()) out_.push_back(id);
    return !full();
  }
  /// For whoever appends by himself.
  std::vector<int64_t>& all() { return out_; }
  bool cut() {
    if (out_.size() > end_) out_.resize(end_);
    return !full();
  }

 private:
  std::vector<int64_t>& out_;
  size_t end_;
};

int64_t number(const json& in) {
  if (!is_whole<int64_t>(in)) fail_user("this describes no tokenizer: ", in.dump(), " is no whole number");
  return in.get<int64_t>();
}

class Described : public Tokenizer {
 protected:
  explicit Described(const json& in) {
    size_ = static_cast<int64_t>(in.at("tokens").size());
    for (const json& one : in.at("added")) {
      const int64_t id = number(one.at("id"));
      if (id >= kMostNumbers) fail_user("tokens have numbers up to ", id);
      size_ = std::max(size_, id + 1);
    }
    if (size_ > kMostNumbers) fail_user("tokens have numbers up to ", size_ - 1);
    before_ = numbers(in.at("before"));
    after_ = numbers(in.at("after"));
  }

  AddedTokens added(const json& in, bool normalized, const BertRules* rules) const {
    std::vector<AddedToken> out;
    for (const json& one : in.at("added")) {
      if (one.at("normalized") != normalized) continue;
      std::string content = one.at("content");
      if (rules) content = text::normalized(content, *rules);
      if (!content.empty())
        out.push_back({std::move(content), checked(one.at("id")), one.at("lstrip"), one.at("rstrip")});
    }
    return AddedTokens(std::move(out));
  }

  int64_t checked(const json& in) const {
    const int64_t id = number(in);
    if (id < 0 || id >= size_) fail_user("a token has the number ", id, ", and there are those below ", size_);
    return id;
  }

 private:
  std::vector<int64_t> numbers(const json& in) const {
    std::vector<int64_t> out;
    for (const json& one : in) out.push_back(checked(one));
    return out;
  }
};

class WordPieces : public Described {
 public:
  explicit WordPieces(const json& in)
      : Described(in),
        unknown_(checked(in.at("unknown"))),
        longest_(static_cast<size_t>(number(in.at("longest")))),
        rules_{in.at("clean"), in.at("chinese"), in.at("accents"), in.at("lower")},
        raw_(added(in, false, nullptr)),
        normalized_(added(in, true, &rules_)) {
    const auto& tokens = in.at("tokens");
    const auto& prefix = in.at("prefix").get_ref<const std::string&>();
    std::vector<std::pair<std::string_view, int64_t>> begins, goes_on;
    for (size_t id = 0; id < tokens.size(); ++id) {
      if (tokens[id].is_null()) continue;
      const std::string_view token = tokens[id].get_ref<const std::string&>();
      if (!token.empty()) begins.emplace_back(token, id);
      if (token.size() > prefix.size() && token.starts_with(prefix))
        goes_on.emplace_back(token.substr(prefix.size()), id);
    }
    begins_ = Trie(std::move(begins));
    goes_on_ = Trie(std::move(goes_on));
  }

  void read(std::string_view text, size_t most, std::vector<int64_t>& out) const override {
    if (most == 0) return;
    Numbers numbers(out, most);
    const auto token = [&](int64_t id) { return numbers.put(id); };
    raw_.split(
        text, [&](std::string_view part) { return read_part(part, numbers); }, token);
  }

 private:
  bool read_part(std::string_view part, Numbers& numbers) const {
    const TakeWord take = [&](std::string_view word) { return read_word(word, numbers); };
    if (normalized_.empty()) return words(part, rules_, longest_, take);
    return normalized_.split(
        normalized(part, rules_), [&](std::string_view rest) { return words(rest, longest_, take); },
        [&](int64_t id) { return numbers.put(id); });
  }

  /// The longest piece that the rest begins with, again and again; a word with a rest that has none is unknown.
  bool read_word(std::string_view word, Numbers& numbers) const {
    std::vector<int64_t>& out = numbers.all();
    const size_t before = out.size();
    const Trie* pieces = &begins_;
    while (!word.empty()) {
      const Trie::Found found = pieces->longest(word);
      if (found.length == 0) break;
      out.push_back(found.id);
      word.remove_prefix(found.length);
      pieces = &goes_on_;
    }
    if (!word.empty() || out.size() == before) {
      out.resize(before);
      out.push_back(unknown_);
    }
    return numbers.cut();
  }

  int64_t unknown_;
  size_t longest_;
  BertRules rules_;
  AddedTokens raw_, normalized_;
  Trie begins_, goes_on_;
};

std::vector<std::string> decoded(const json& tokens) {
  std::vector<std::string> out;
  for (const json& one : tokens) out.push_back(one.is_null() ? "" : decode_base64(one.get_ref<const std::string&>()));
  return out;
}

std::vector<Merge> merges_of(const json& in) {
  std::vector<Merge> out;
  if (in.size() % 3 != 0) fail_user("merges come as three numbers each, and there are ", in.size());
  for (size_t i = 0; i < in.size(); i += 3) out.push_back({number(in[i]), number(in[i + 1]), number(in[i + 2])});
  return out;
}

class BytePairTokenizer : public Described {
 public:
  explicit BytePairTokenizer(const json& in)
      : Described(in),
        blank_first_(in.at("blank_first")),
        raw_(added(in, false, nullptr)),
        late_(added(in, true, nullptr)),
        pairs_(decoded(in.at("tokens")), merges_of(in.at("merges")), in.at("whole")) {}

  void read(std::string_view text, size_t most, std::vector<int64_t>& out) const override {
    if (most == 0) return;
    Numbers numbers(out, most);
    std::string room;
    const auto token = [&](int64_t id) { return numbers.put(id); };
    const auto rest = [&](std::string_view part) { return read_part(part, numbers); };
    raw_.split(
        valid(text, room), [&](std::string_view part) { return late_.split(part, rest, token); }, token);
  }

 private:
  bool read_part(std::string_view part, Numbers& numbers) const {
    if (!blank_first_ || part.starts_with(' ')) return read_words(part, numbers);
    return read_words(' ' + std::string(part), numbers);
  }

  bool read_words(std::string_view text, Numbers& numbers) const {
    while (!text.empty()) {
      const size_t length = gpt_word(text);
      pairs_.read(text.substr(0, length), numbers.all());
      if (!numbers.cut()) return false;
      text.remove_prefix(length);
    }
    return true;
  }

  bool blank_first_;
  AddedTokens raw_, late_;
  BytePairs pairs_;
};

}  // namespace

std::shared_ptr<const Tokenizer> parse_tokenizer(const std::string& description) try {
  const json in = json::parse(description);
  const std::string kind = in.at("kind");
  if (kind == "wordpiece") return std::make_shared<WordPieces>(in);
  if (kind == "bpe") return std::make_shared<BytePairTokenizer>(in);
  fail_user("unknown kind of tokenizer '", kind, "'");
} catch (const json::exception& error) {
  fail_user("this describes no tokenizer: ", error.what());
}

}  // namespace stoker::text
