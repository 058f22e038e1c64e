#include "net/handshake.h"

#include <algorithm>

#include "net/socket.h"

namespace stoker::net {
namespace {

// What the proofs keep out, and what not: docs/security.md.
constexpr std::array<std::byte, 4> kMagic{std::byte{'S'}, std::byte{'T'}, std::byte{'H'}, std::byte{2}};
constexpr size_t kNonce = 32;
constexpr size_t kProof = 32;
constexpr size_t kHello = kMagic.size() + kPurposeBytes + kNonce;
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

/// Of an encoded purpose, before it is proven.
Purpose read_purpose(ByteView bytes) {
  Decoder in(bytes);
  Purpose purpose;
  purpose.kind = in.get<Purpose::Kind>();
  purpose.encrypted = in.get<uint8_t>() != 0;
  in.get<uint16_t>();
  purpose.generation = in.get<uint64_t>();
  purpose.from = in.get<uint32_t>();
  purpose.to = in.get<uint32_t>();
  return purpose;
}

/// Only for better words than "does not know the secret": the proof is over the whole purpose.
void check_same(const Purpose& mine, const Purpose& theirs) {
  if (mine.encrypted != theirs.encrypted)
    fail_world("handshake: one side wants to encrypt and the other does not (spark.stoker.network.encrypt)");
  if (mine != theirs) fail_world("handshake: the other side means a link for something else");
}

std::string_view name(Role role) { return role == Role::connector ? "connector" : "listener"; }

}  // namespace

Bytes encode(const Purpose& p) {
  Encoder out;
  out.put(p.kind).put(static_cast<uint8_t>(p.encrypted)).put(uint16_t{0});
  return out.put(p.generation).put(p.from).put(p.to).take();
}

Handshake::Handshake(Role role, ByteView secret, const Purpose& purpose)
    : role_(role),
      secret_(secret.begin(), secret.end()),
      purpose_(purpose),
      wants_(role == Role::listener ? kHello : kAnswer) {
  if (secret.empty()) fail_bug("handshake: the secret is empty");
  fill_random(mine_);
}

Bytes Handshake::opening() const {
  return role_ == Role::connector ? joined({kMagic, encode(purpose_), mine_}) : Bytes{};
}

Bytes Handshake::receive(ByteView message) {
  STOKER_CHECK(!proven() && message.size() == wants_);
  if (role_ == Role::connector) return receive_answer(message);
  return wants_ == kHello ? receive_hello(message) : receive_proof(message);
}

/// One that means another link is answered too, so that it hears why it is none: its proof would not fit.
Bytes Handshake::receive_hello(ByteView message) {
  take_magic(message);
  const Purpose theirs = read_purpose(message.subspan(kMagic.size(), kPurposeBytes));
  purpose_.generation = theirs.generation;
  purpose_.from = theirs.from;
  purpose_.to = theirs.to;
  std::ranges::copy(message.last(kNonce), theirs_.begin());
  wants_ = kProof;
  return joined({kMagic, encode(purpose_), mine_, prove(Role::listener)});
}

Bytes Handshake::receive_answer(ByteView message) {
  take_magic(message);
  check_same(purpose_, read_purpose(message.subspan(kMagic.size(), kPurposeBytes)));
  std::ranges::copy(message.subspan(kHello - kNonce, kNonce), theirs_.begin());
  check(Role::listener, message.subspan(kHello));
  return joined({prove(Role::connector)});
}

Bytes Handshake::receive_proof(ByteView message) {
  check(Role::connector, message);
  return {};
}

/// The connector's, then the listener's.
Bytes Handshake::nonces() const {
  return role_ == Role::connector ? joined({mine_, theirs_}) : joined({theirs_, mine_});
}

Handshake::Nonce Handshake::prove(Role role) const {
  const std::string text = cat("stoker handshake 2 ", name(role));
  return crypto::hmac_sha256(secret_, joined({as_bytes(text), encode(purpose_), nonces()}));
}

void Handshake::check(Role role, ByteView proof) {
  if (!crypto::same(prove(role), proof)) fail_world("handshake: the other side does not know this fit's secret");
  wants_ = 0;
}

Seal Handshake::seal(Seal::Way way, Role sender) const {
  const std::string text = cat("stoker frames 3 ", name(sender));
  const auto key = crypto::hkdf_sha256(secret_, nonces(), joined({as_bytes(text), encode(purpose_)}));
  return {way, key, purpose_.encrypted};
}

Seals Handshake::seals() const {
  STOKER_CHECK(proven());
  const Role other = role_ == Role::connector ? Role::listener : Role::connector;
  return {seal(Seal::Way::out, role_), seal(Seal::Way::in, other)};
}

Seals handshake_blocking(int fd, Role role, ByteView secret, const Purpose& purpose, TimePoint deadline) {
  Handshake handshake(role, secret, purpose);
  write_all(fd, handshake.opening(), deadline);
  while (!handshake.proven()) {
    Bytes message(handshake.wants());
    read_exact(fd, message, deadline);
    write_all(fd, handshake.receive(message), deadline);
  }
  return handshake.seals();
}

}  // namespace stoker::net
