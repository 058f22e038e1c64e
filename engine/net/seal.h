#pragma once
// What makes the bytes of one direction of a link authentic, and unreadable for others where that is asked for:
// AES-256-GCM (NIST SP 800-38D), as GMAC where nothing is encrypted. What passes is cut into *parts* (a frame's header,
// a frame's body), each with a tag. The nonce is the part's number, so a part that was changed, moved, repeated or left
// out does not fit, and none is ever used twice with the key of one link and direction.
//
// One object per direction of a link and end, used by one thread at a time.
#include "base/crypto.h"

namespace stoker::net {

inline constexpr size_t kTagBytes = 16;
using Tag = std::array<std::byte, kTagBytes>;

class Seal {
 public:
  enum class Way { out, in };

  Seal() = default;  // of no link
  Seal(Way way, ByteView key, bool encrypts);
  bool encrypts() const { return encrypts_; }

  /// Begins the next part. What follows is the part's bytes, cut anywhere, and then tag() or fits().
  void begin();
  /// Begins the link's last part of this direction. Its number is the same however many went before, so that it can be
  /// read past those that nobody wants any more.
  void begin_last();
  /// Bytes of the part that stay readable. REQUIRES: none was turned before.
  void cover(ByteView clear);
  /// Encrypts, or decrypts, bytes of the part. `to` may be where they are.
  void turn(ByteView from, std::byte* to);
  /// Either, in place: as the link wants its bodies.
  void pass(std::span<std::byte> bytes);
  Tag tag();
  bool fits(ByteView tag);

  /// The next part whole, of readable bytes.
  Tag tag_of(ByteView clear);
  bool fits(ByteView clear, ByteView tag);

 private:
  void begin(uint64_t number);
  void update(ByteView from, std::byte* to);

  crypto::Cipher cipher_;
  Way way_ = Way::out;
  bool encrypts_ = false;
  bool last_ = false;
  uint64_t next_ = 0;
};

/// A link's, at one end.
struct Seals {
  Seal out, in;
};

}  // namespace stoker::net
