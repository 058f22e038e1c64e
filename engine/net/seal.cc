#include "net/seal.h"

#include <array>
#include <cstring>
#include <limits>

#include "base/pieces.h"

namespace stoker::net {
namespace {

constexpr uint64_t kLast = std::numeric_limits<uint64_t>::max();
constexpr size_t kNonceBytes = 12;

}  // namespace

Seal::Seal(Way way, ByteView key, bool encrypts)
    : cipher_(crypto::start_cipher(crypto::aes_256_gcm(),
                                   way == Way::out ? crypto::Direction::encrypt : crypto::Direction::decrypt, key)),
      way_(way),
      encrypts_(encrypts) {}

void Seal::begin() {
  STOKER_CHECK(next_ < kLast && !last_);
  begin(next_++);
}

void Seal::begin_last() {
  STOKER_CHECK(!last_);
  last_ = way_ == Way::out;  // a reader may look for it more than once
  begin(kLast);
}

void Seal::begin(uint64_t number) {
  STOKER_CHECK(cipher_);
  std::array<unsigned char, kNonceBytes> nonce{};
  std::memcpy(nonce.data(), &number, sizeof number);
  crypto::check(EVP_CipherInit_ex2(cipher_.get(), nullptr, nullptr, nonce.data(), -1, nullptr), "a nonce");
}

void Seal::update(ByteView from, std::byte* to) {
  in_pieces(from.size(), kPieceBytes, [&](size_t at, size_t n) {
    int done = 0;
    auto* out = to ? crypto::raw(to + at) : nullptr;
    const int code = EVP_CipherUpdate(cipher_.get(), out, &done, crypto::raw(from.subspan(at)), static_cast<int>(n));
    crypto::check(code, "a part");
  });
}

void Seal::cover(ByteView clear) { update(clear, nullptr); }

void Seal::turn(ByteView from, std::byte* to) { update(from, to); }

void Seal::pass(std::span<std::byte> bytes) { update(bytes, encrypts_ ? bytes.data() : nullptr); }

Tag Seal::tag() {
  Tag tag;
  int none = 0;
  crypto::check(EVP_CipherFinal_ex(cipher_.get(), crypto::raw(tag.data()), &none), "a part's end");
  crypto::check(EVP_CIPHER_CTX_ctrl(cipher_.get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag.data()), "a tag");
  return tag;
}

bool Seal::fits(ByteView tag) {
  STOKER_CHECK(way_ == Way::in && tag.size() == kTagBytes);
  auto* wanted = const_cast<std::byte*>(tag.data());
  crypto::check(EVP_CIPHER_CTX_ctrl(cipher_.get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, wanted), "a tag");
  Tag rest;
  int none = 0;
  return EVP_CipherFinal_ex(cipher_.get(), crypto::raw(rest.data()), &none) == 1;
}

Tag Seal::tag_of(ByteView clear) {
  begin();
  cover(clear);
  return tag();
}

bool Seal::fits(ByteView clear, ByteView tag) {
  begin();
  cover(clear);
  return fits(tag);
}

}  // namespace stoker::net
