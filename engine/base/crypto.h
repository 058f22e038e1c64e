#pragma once
// What the engine takes from OpenSSL's libcrypto, which is linked statically and hidden: Python brings another one.
// Any thread.
#include <openssl/evp.h>

#include <array>
#include <memory>

#include "base/codec.h"

namespace stoker::crypto {

using Bytes32 = std::array<std::byte, 32>;

Bytes32 hmac_sha256(ByteView key, ByteView text);
/// HKDF-SHA256 (RFC 5869) of 32 bytes.
Bytes32 hkdf_sha256(ByteView secret, ByteView salt, ByteView info);

/// Takes the same time wherever the difference lies.
bool same(ByteView a, ByteView b);

struct FreeCipher {
  void operator()(EVP_CIPHER_CTX* context) const;  // not here: who includes this need not link OpenSSL
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, FreeCipher>;
enum class Direction { decrypt = 0, encrypt = 1 };
const EVP_CIPHER* aes_256_gcm();
const EVP_CIPHER* aes_256_ctr();
Cipher start_cipher(const EVP_CIPHER* kind, Direction direction, ByteView key);

/// Throws Error(bug) unless it is 1, which is how OpenSSL says that all went well.
void check(int code, const char* what);

inline const unsigned char* raw(ByteView bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }
inline unsigned char* raw(std::byte* bytes) { return reinterpret_cast<unsigned char*>(bytes); }

}  // namespace stoker::crypto
