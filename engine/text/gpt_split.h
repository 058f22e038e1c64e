#pragma once
// GPT-2's cut of a text into words (Radford et al., 2019): what this expression matches, one after the other,
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
#include <string_view>

namespace stoker::text {

/// The length in bytes of the word that a text begins with. REQUIRES: UTF-8, not empty.
size_t gpt_word(std::string_view text);

}  // namespace stoker::text
