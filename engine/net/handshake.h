#pragma once
// Mutual proof that both ends of a connection know the fit's secret and mean the same link, before a byte of either
// reaches a protocol; and the keys of that link.
//
//   connector -> listener   magic, version, purpose, nonce c
//   listener -> connector   magic, version, purpose, nonce l, HMAC(secret, "stoker handshake 2 listener" purpose c l)
//   connector -> listener   HMAC(secret, "stoker handshake 2 connector" purpose c l)
//
// HMAC is HMAC-SHA256. The fresh nonces make a replayed message fail, the role in the text a reflected one, the purpose
// one that was meant for another link. docs/formats/gang.md has the bytes. A stranger gets 88 bytes of attention and no
// more.
#include "base/clock.h"
#include "base/codec.h"
#include "net/seal.h"

namespace stoker::net {

enum class Role { connector, listener };

/// What a link is for.
struct Purpose {
  enum class Kind : uint8_t { control = 1, peer = 2 };
  Kind kind = Kind::control;
  bool encrypted = false;   // bodies, both ways
  uint64_t generation = 0;  // peers: of the group, and the two ranks; a listener has them from who connects
  uint32_t from = 0;
  uint32_t to = 0;
  friend bool operator==(const Purpose&, const Purpose&) = default;
};
inline constexpr size_t kPurposeBytes = 20;
Bytes encode(const Purpose& purpose);

/// One end's state machine, without a socket. Used by one thread.
class Handshake {
 public:
  Handshake(Role role, ByteView secret, const Purpose& purpose);
  /// What this end sends first; empty for the listener.
  Bytes opening() const;
  /// Length of the next message of the other end; 0 once it is proven.
  size_t wants() const { return wants_; }
  bool proven() const { return wants_ == 0; }
  /// Takes that message and returns the answer, which may be empty. Throws Error(world) when the other end is no
  /// member of this fit. REQUIRES: message.size() == wants().
  Bytes receive(ByteView message);

  /// What both ends have proven that the link is for. REQUIRES: proven().
  const Purpose& purpose() const { return purpose_; }
  /// The link's, for this end: keys by HKDF-SHA256, one for each direction. Once. REQUIRES: proven().
  Seals seals() const;

 private:
  using Nonce = crypto::Bytes32;
  Bytes receive_hello(ByteView message);
  Bytes receive_answer(ByteView message);
  Bytes receive_proof(ByteView message);
  Bytes nonces() const;
  Nonce prove(Role role) const;
  Seal seal(Seal::Way way, Role sender) const;
  void check(Role role, ByteView proof);

  Role role_;
  Bytes secret_;
  Purpose purpose_;
  Nonce mine_{};
  Nonce theirs_{};
  size_t wants_;
};

/// The whole handshake on a connected socket, blocking or not. Reads not one byte more than its own.
Seals handshake_blocking(int fd, Role role, ByteView secret, const Purpose& purpose, TimePoint deadline);

}  // namespace stoker::net
