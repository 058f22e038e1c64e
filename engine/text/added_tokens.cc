#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"

namespace stoker::text {
namespace {

size_t spaces_before(std::string_view text) {
  size_t begin = text.size();
  while (begin > 0) {
    size_t at = begin - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    size_t after = at;
    if (!(traits(next(text, after)) & kSpace)) break;
    begin = at;
  }
  return text.size() - begin;
}

size_t spaces_behind(std::string_view text) {
  size_t end = 0;
  for (size_t at = 0; at < text.size() && (traits(next(text, at)) & kSpace);) end = at;
  return end;
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const auto& a, const auto& b) { return a.content.size() > b.content.size(); });
  for (const auto& token : tokens_) begins_[static_cast<unsigned char>(token.content[0])] = true;
}

const AddedToken* AddedTokens::at(std::string_view rest) const {
  if (!begins_[static_cast<unsigned char>(rest[0])]) return nullptr;
  const auto found =
      std::find_if(tokens_.begin(), tokens_.end(), [&](const auto& token) { return rest.starts_with(token.content); });
  return found == tokens_.end() ? nullptr : &*found;
}

bool AddedTokens::split(std::string_view text, const TakeText& take_text, const TakeToken& take_token) const {
  size_t told = 0;  // up to here
  for (size_t i = 0; i < text.size();) {
    const AddedToken* token = at(text.substr(i));
    if (!token) {
      ++i;
      continue;
    }
    size_t begin = i, end = i += token->content.size();
    if (token->strips_left) begin = std::max(told, begin - spaces_before(text.substr(0, begin)));
    if (token->strips_right) end += spaces_behind(text.substr(end));
    if (told < begin && !take_text(text.substr(told, begin - told))) return false;
    if (!take_token(token->id)) return false;
    told = end;
  }
  return told >= text.size() || take_text(text.substr(told));
}

}  // namespace stoker::text
