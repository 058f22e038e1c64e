// A tokenizer's description and a text, with a zero between them: the numbers are those that the tokenizer has, and as
// many as are asked for at most; a text's first numbers do not hang on how many are wanted.
#include "fuzz.h"
#include "text/tokenizer.h"

FUZZ_TARGET(input) {
  using namespace stoker;
  const std::string_view all(reinterpret_cast<const char*>(input.data()), input.size());
  const size_t end = std::min(all.find('\0'), all.size());
  const std::string_view text = all.substr(std::min(end + 1, all.size()));
  try {
    const auto tokenizer = text::parse_tokenizer(std::string(all.substr(0, end)));
    std::vector<int64_t> few, many;
    tokenizer->read(text, 3, few);
    tokenizer->read(text, input.size() + 3, many);
    fuzz::require(few.size() <= 3 && few.size() <= many.size());
    fuzz::require(std::equal(few.begin(), few.end(), many.begin()));
    for (const int64_t id : many) fuzz::require(id >= 0 && id < tokenizer->size());
  } catch (const Error& error) {
    fuzz::require(error.kind() == ErrorKind::user);
  }
}
