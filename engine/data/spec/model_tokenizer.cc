#include "data/spec/model_tokenizer.h"

#include "base/error.h"
#include "data/spec/surrounded.h"
#include "text/tokenizer.h"

namespace stoker::data {
namespace {

class ModelTokenizer : public Tokenizer {
 public:
  ModelTokenizer(const std::string& description, bool begin, bool end) : model_(text::parse_tokenizer(description)) {
    if (begin) begin_ = special(model_->before(), "begin");
    if (end) end_ = special(model_->after(), "end");
  }

  int64_t count() const { return model_->size(); }
  void read(std::string_view text, size_t most, std::vector<int64_t>& out) const override {
    put_surrounded(begin_, end_, most, out, [&](size_t count) { model_->read(text, count, out); });
  }

 private:
  static std::vector<int64_t> special(const std::vector<int64_t>& found, const char* what) {
    if (found.empty()) fail_user("the tokenizer has no token for the ", what, " of a text");
    return found;
  }

  std::shared_ptr<const text::Tokenizer> model_;
  std::vector<int64_t> begin_, end_;
};

}  // namespace

std::shared_ptr<const Tokenizer> model_tokenizer(const std::string& description, bool begin, bool end) {
  return std::make_shared<ModelTokenizer>(description, begin, end);
}

int64_t count_tokens(const std::string& description, bool begin, bool end) {
  return ModelTokenizer(description, begin, end).count();
}

}  // namespace stoker::data
