#pragma once
// Frames in flight between hosts: everything that a rank has to send and to receive in one exchange moves at the same
// time, so large messages in both directions cannot block each other. Used by one thread.
//
// Frames of one connection are received in the order in which they are announced; that order follows from topology and
// step alone, so both ends know it.
#include <array>
#include <deque>
#include <functional>

#include "base/clock.h"
#include "collective/peers.h"

namespace stoker::collective {

class Transfers {
 public:
  explicit Transfers(Peers& peers) : peers_(peers), ways_(peers.size()) {}

  /// Whether part `i` of a payload may go; asked just before its first byte goes, and may make the part then, while
  /// what it is made of is in the cache. After a no it is asked again whenever run() has asked done().
  using Ready = std::function<bool(size_t)>;

  /// The memory must stay as it is until run() is through, that of a part from when it is ready. No part is empty where
  /// `ready` is given.
  void send(int rank, const FrameHeader& header, const std::vector<ByteView>& payload, Ready ready = {});
  /// The next frame from `rank` must have this header; its payload goes to these places, one after the other. `came`,
  /// if given, counts the parts that are not empty as they come, which may still turn out not to be what was sent, and
  /// one more for the tag that shows that all are.
  void receive(int rank, const FrameHeader& header, const std::vector<std::span<std::byte>>& payload,
               size_t* came = nullptr);

  /// Nothing is left to send or to receive.
  bool idle() const;

  /// Moves bytes until done(), however long that takes. Wakes at least every 20 ms, and when `wake_fd` can be read, to
  /// call tick(). Throws what Peers::check throws, and Error(world) on a frame that was not announced.
  void run(const std::function<bool()>& done, int wake_fd, const std::function<void()>& tick);

  uint64_t bytes_sent() const { return bytes_sent_; }
  /// A frame to `rank` was begun and not ended.
  bool is_cut(int rank) const { return !ways_[rank].out.empty() && ways_[rank].out.front().begun; }

 private:
  /// A frame to be sent. It is sealed a piece at a time, just before the piece goes: the network has something to do
  /// meanwhile, and the kernel finds the bytes in the cache.
  struct Outgoing {
    FrameHeader header;
    std::vector<ByteView> payload = {};
    Ready may_go = {};
    size_t asked = 0;      // parts that may
    bool stalled = false;  // the next one may not
    size_t next = 0;       // what is not sealed yet begins in payload[next], `at` bytes on
    size_t at = 0;
    bool begun = false;
    bool sealed = false;               // all of it
    std::vector<ByteView> ready = {};  // sealed, and not sent
    Bytes head = {};
    net::Tag tag = {};
    Bytes hidden = {};  // the piece, where it is encrypted
    Bytes spoilt = {};  // tests: what is sent in place of the payload's first bytes
    /// Nothing of it can be sent now.
    bool waits() const { return stalled && ready.empty(); }
  };
  /// A frame to be received. Parts: head, payload, tag of the payload.
  struct Incoming {
    FrameHeader header;
    std::vector<std::span<std::byte>> parts = {};  // where what has not come yet goes, from parts[next] on
    size_t* came = nullptr;
    std::array<std::byte, kHeaderBytes> head = {};
    net::Tag tag = {};
    size_t next = 0;
    bool complete() const { return next == parts.size(); }
  };
  struct Way {
    std::deque<Outgoing> out;
    std::deque<Incoming> in;
  };

  static void seal_more(net::Seal& seal, Outgoing& frame);
  static void seal_piece(net::Seal& seal, Outgoing& frame);
  static void spoil(Outgoing& frame, ByteView& piece);
  static bool may_go_on(Outgoing& frame);
  bool try_stalled();
  static void advance(Outgoing& frame, size_t bytes);
  bool write_some(int rank);
  bool read_some(int rank);
  void take_in(int rank, Incoming& frame, size_t bytes);
  void end_part(int rank, Incoming& frame);
  void check_head(int rank, const Incoming& frame);
  void check_tag(int rank, const Incoming& frame);
  bool move(int wake_fd);
  std::vector<int> peers_at_hand() const;
  std::vector<int> peers_to_watch();

  Peers& peers_;
  std::vector<Way> ways_;  // by rank
  uint64_t bytes_sent_ = 0;
  TimePoint next_look_;  // at those who have nothing to send or receive
};

}  // namespace stoker::collective
