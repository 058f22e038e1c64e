#include "base/crypto.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

namespace stoker::crypto {
namespace {

/// First of all: no configuration of this machine's OpenSSL, and nothing at the process's end, when other threads may
/// still run.
void init() {
  static const int ready = OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, nullptr);
  check(ready, "its start");
}

const EVP_CIPHER* fetch(const char* name) {
  init();
  const EVP_CIPHER* cipher = EVP_CIPHER_fetch(nullptr, name, nullptr);
  check(cipher != nullptr, name);
  return cipher;
}

EVP_KDF* fetch_hkdf() {
  init();
  EVP_KDF* kdf = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  check(kdf != nullptr, "HKDF");
  return kdf;
}

OSSL_PARAM octets(const char* name, ByteView bytes) {
  return OSSL_PARAM_construct_octet_string(name, const_cast<std::byte*>(bytes.data()), bytes.size());
}

struct FreeKdf {
  void operator()(EVP_KDF_CTX* context) const { EVP_KDF_CTX_free(context); }
};

}  // namespace

void FreeCipher::operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }

void check(int code, const char* what) {
  if (code != 1) fail_bug("OpenSSL failed: ", what);
}

Bytes32 hmac_sha256(ByteView key, ByteView text) {
  init();
  Bytes32 out;
  unsigned size = 0;
  const auto* done =
      HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), raw(text), text.size(), raw(out.data()), &size);
  check(done != nullptr && size == out.size(), "HMAC");
  return out;
}

Bytes32 hkdf_sha256(ByteView secret, ByteView salt, ByteView info) {
  static EVP_KDF* const hkdf = fetch_hkdf();
  const std::unique_ptr<EVP_KDF_CTX, FreeKdf> context(EVP_KDF_CTX_new(hkdf));
  char digest[] = "SHA256";
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                               octets(OSSL_KDF_PARAM_KEY, secret), octets(OSSL_KDF_PARAM_SALT, salt),
                               octets(OSSL_KDF_PARAM_INFO, info), OSSL_PARAM_construct_end()};
  Bytes32 out;
  check(EVP_KDF_derive(context.get(), raw(out.data()), out.size(), params), "HKDF");
  return out;
}

bool same(ByteView a, ByteView b) { return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0; }

const EVP_CIPHER* aes_256_gcm() {
  static const EVP_CIPHER* const cipher = fetch("AES-256-GCM");
  return cipher;
}

const EVP_CIPHER* aes_256_ctr() {
  static const EVP_CIPHER* const cipher = fetch("AES-256-CTR");
  return cipher;
}

Cipher start_cipher(const EVP_CIPHER* kind, Direction direction, ByteView key) {
  Cipher context(EVP_CIPHER_CTX_new());
  STOKER_CHECK(static_cast<int>(key.size()) == EVP_CIPHER_get_key_length(kind));
  check(EVP_CipherInit_ex2(context.get(), kind, raw(key), nullptr, static_cast<int>(direction), nullptr), "a cipher");
  return context;
}

}  // namespace stoker::crypto
