#include "base/base64.h"

#include <mbedtls/base64.h>

#include "base/error.h"

namespace stoker {

std::string decode_base64(std::string_view text) {
  const auto* from = reinterpret_cast<const unsigned char*>(text.data());
  std::string bytes(text.size() / 4 * 3, '\0');
  size_t size = 0;
  if (mbedtls_base64_decode(reinterpret_cast<unsigned char*>(bytes.data()), bytes.size(), &size, from, text.size()) !=
      0)
    fail_user("this is no base64 text");
  bytes.resize(size);
  return bytes;
}

}  // namespace stoker
