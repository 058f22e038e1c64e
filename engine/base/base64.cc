#include "base/base64.h"

#include <openssl/evp.h>

#include <algorithm>

#include "base/error.h"

namespace stoker {

namespace {

constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string decode_base64(std::string_view text) {
  const size_t letters = std::min(text.find_first_not_of(kLetters), text.size());
  const size_t padding = text.size() - letters;
  if (text.size() % 4 != 0 || padding > 2 || text.substr(letters) != std::string_view("==").substr(2 - padding))
    fail_user("this is no base64 text");
  std::string bytes(text.size() / 4 * 3, '\0');
  EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()), reinterpret_cast<const unsigned char*>(text.data()),
                  static_cast<int>(text.size()));
  bytes.resize(bytes.size() - padding);
  return bytes;
}

}  // namespace stoker
