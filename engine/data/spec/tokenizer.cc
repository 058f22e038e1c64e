#include "data/spec/tokenizer.h"

#include <algorithm>

namespace stoker::data {
namespace {

class ByteTokenizer : public Tokenizer {
 public:
  void read(std::string_view text, size_t most, std::vector<int64_t>& out) const override {
    for (const char c : text.substr(0, most)) out.push_back(1 + static_cast<unsigned char>(c));
  }
};

char lowered(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 'a' - 'A') : c; }
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_inside(char c) {
  const char low = lowered(c);
  return (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

class WordTokenizer : public Tokenizer {
 public:
  WordTokenizer(std::shared_ptr<const Vocabulary> words, bool lower) : words_(std::move(words)), lower_(lower) {}

  void read(std::string_view text, size_t most, std::vector<int64_t>& out) const override {
    std::string word;
    for (size_t at = 0; most > 0;) {
      while (at < text.size() && is_space(text[at])) ++at;
      if (at == text.size()) return;
      size_t end = at + 1;
      while (is_inside(text[at]) && end < text.size() && is_inside(text[end])) ++end;
      word.assign(text.substr(at, end - at));
      if (lower_) std::transform(word.begin(), word.end(), word.begin(), lowered);
      out.push_back(words_->id(word));
      --most;
      at = end;
    }
  }

 private:
  std::shared_ptr<const Vocabulary> words_;
  bool lower_;
};

}  // namespace

std::shared_ptr<const Tokenizer> byte_tokenizer() { return std::make_shared<ByteTokenizer>(); }

std::shared_ptr<const Tokenizer> word_tokenizer(std::shared_ptr<const Vocabulary> words, bool lower) {
  return std::make_shared<WordTokenizer>(std::move(words), lower);
}

}  // namespace stoker::data
