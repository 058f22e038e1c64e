#include "data/spec/piece_tokenizer.h"

#include <dlfcn.h>

#include <string>

#include "base/error.h"
#include "data/spec/surrounded.h"
#include "pieces/pieces.h"

namespace stoker::data {
namespace {

/// Beside the library that this is in.
std::string library_path() {
  Dl_info mine{};
  static const char here = 0;
  STOKER_CHECK(::dladdr(&here, &mine) != 0);
  const std::string path = mine.dli_fname;
  return path.substr(0, path.rfind('/') + 1) + "libstoker_pieces.so";
}

/// For good. Its own symbols go first (DEEPBIND): see pieces.h.
const pieces::Functions& load() {
  const std::string path = library_path();
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  void* entry = library ? ::dlsym(library, "stoker_pieces") : nullptr;
  if (!entry) fail_world("cannot load the SentencePiece library: ", ::dlerror());
  return *reinterpret_cast<decltype(&stoker_pieces)>(entry)();
}

const pieces::Functions& functions() {
  static const pieces::Functions& loaded = load();
  return loaded;
}

class Model {
 public:
  explicit Model(const std::string& bytes) {
    char why[500] = "";
    model_ = functions().open(bytes.data(), bytes.size(), why, sizeof why);
    if (!model_) fail_user("this is no SentencePiece model: ", why);
  }
  ~Model() { functions().close(model_); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  void* get() const { return model_; }
  int32_t count() const { return functions().count(model_); }

 private:
  void* model_;
};

class PieceTokenizer : public Tokenizer {
 public:
  PieceTokenizer(const std::string& model, bool begin, bool end) : model_(model) {
    if (begin) begin_ = special(functions().begin, "begin");
    if (end) end_ = special(functions().end, "end");
  }

  int64_t count() const { return model_.count(); }
  void read(std::string_view text, size_t most, std::vector<int64_t>& out) const override {
    put_surrounded(begin_, end_, most, out, [&](size_t count) {
      const size_t at = out.size();
      out.resize(at + count);
      out.resize(at + functions().encode(model_.get(), text.data(), text.size(), out.data() + at, count));
    });
  }

 private:
  std::vector<int64_t> special(int32_t (*number)(void*), const char* what) const {
    const int32_t found = number(model_.get());
    if (found < 0) fail_user("the SentencePiece model has no piece for the ", what, " of a sentence");
    return {found};
  }

  Model model_;
  std::vector<int64_t> begin_, end_;  // one or none
};

}  // namespace

std::shared_ptr<const Tokenizer> piece_tokenizer(const std::string& model, bool begin, bool end) {
  return std::make_shared<PieceTokenizer>(model, begin, end);
}

int64_t count_pieces(const std::string& model, bool begin, bool end) {
  return PieceTokenizer(model, begin, end).count();
}

}  // namespace stoker::data
