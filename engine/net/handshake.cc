#include "net/handshake.h"

#include <mbedtls/md.h>

#include <algorithm>

#include "net/socket.h"

namespace stoker::net {
namespace {

constexpr std::array<std::byte, 4> kMagic{std::byte{'S'}, std::byte{'T'}, std::byte{'H'}, std::byte{1}};
constexpr size_t kNonce = 32;
constexpr size_t kProof = 32;
constexpr size_t kHello = kMagic.size() + kNonce;
constexpr size_t kAnswer = kHello + kProof;

Bytes joined(std::initializer_list<ByteView> parts) {
  Bytes out;
  for (const ByteView part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}

void take_magic(ByteView message) {
  if (!std::equal(kMagic.begin(), kMagic.end(), message.begin())) {
    fail_world("handshake: the other side is no part of Stoker, or of another version");
  }
}

/// Takes the same time wherever the difference lies.
bool same(ByteView a, ByteView b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) difference |= std::to_integer<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

const unsigned char* raw(ByteView bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

}  // namespace

Handshake::Handshake(Role role, ByteView secret)
    : role_(role), secret_(secret.begin(), secret.end()), wants_(role == Role::listener ? kHello : kAnswer) {
  if (secret.empty()) fail_bug("handshake: the secret is empty");
  fill_random(mine_);
}

Bytes Handshake::opening() const { return role_ == Role::connector ? joined({kMagic, mine_}) : Bytes{}; }

Bytes Handshake::receive(ByteView message) {
  STOKER_CHECK(!proven() && message.size() == wants_);
  if (role_ == Role::connector) return receive_answer(message);
  return wants_ == kHello ? receive_hello(message) : receive_proof(message);
}

Bytes Handshake::receive_hello(ByteView message) {
  take_magic(message);
  std::ranges::copy(message.subspan(kMagic.size()), theirs_.begin());
  wants_ = kProof;
  return joined({kMagic, mine_, prove(Role::listener)});
}

Bytes Handshake::receive_answer(ByteView message) {
  take_magic(message);
  std::ranges::copy(message.subspan(kMagic.size(), kNonce), theirs_.begin());
  check(Role::listener, message.subspan(kHello));
  return joined({prove(Role::connector)});
}

Bytes Handshake::receive_proof(ByteView message) {
  check(Role::connector, message);
  return {};
}

Handshake::Nonce Handshake::prove(Role role) const {
  const bool connector = role_ == Role::connector;
  const Bytes text =
      joined({as_bytes(role == Role::connector ? "stoker handshake 1 connector" : "stoker handshake 1 listener"),
              connector ? mine_ : theirs_, connector ? theirs_ : mine_});
  Nonce proof;
  const int code = mbedtls_md_hmac(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), raw(secret_), secret_.size(),
                                   raw(text), text.size(), reinterpret_cast<unsigned char*>(proof.data()));
  if (code != 0) fail_bug("handshake: HMAC failed with code ", code);
  return proof;
}

void Handshake::check(Role role, ByteView proof) {
  if (!same(prove(role), proof)) fail_world("handshake: the other side does not know this fit's secret");
  wants_ = 0;
}

void handshake_blocking(int fd, Role role, ByteView secret, TimePoint deadline) {
  Handshake handshake(role, secret);
  write_all(fd, handshake.opening(), deadline);
  while (!handshake.proven()) {
    Bytes message(handshake.wants());
    read_exact(fd, message, deadline);
    write_all(fd, handshake.receive(message), deadline);
  }
}

}  // namespace stoker::net
