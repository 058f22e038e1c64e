#pragma once
#include <string>
#include <string_view>

namespace stoker {

/// RFC 4648, with padding. Throws Error(user) on other text.
std::string decode_base64(std::string_view text);

}  // namespace stoker
