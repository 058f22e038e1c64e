#pragma once
// Frames in flight between hosts: everything that a rank has to send and to receive in one exchange moves at the same
// time, so large messages in both directions cannot block each other. Used by one thread.
//
// Frames of one connection are received in the order in which they are announced; that order follows from topology and
// step alone, so both ends know it.
#include <sys/socket.h>
#include <sys/uio.h>

#include <deque>
#include <functional>

#include "base/hash.h"
#include "collective/peers.h"

namespace stoker::collective {

class Transfers {
 public:
  explicit Transfers(Peers& peers) : peers_(peers), ways_(peers.size()) {}

  /// The memory must stay as it is until run() is through.
  void send(int rank, const FrameHeader& header, const std::vector<ByteView>& payload);
  /// The next frame from `rank` must have this header; its payload goes to these places, one after the other.
  void receive(int rank, const FrameHeader& header, const std::vector<std::span<std::byte>>& payload);

  /// Frames of this kind that are still to come.
  int awaited(FrameKind kind) const;
  /// Nothing is left to send or to receive.
  bool idle() const;

  /// Moves bytes until done(), however long that takes. Wakes at least every 20 ms, and when `wake_fd` can be read, to
  /// call tick(). Throws what Peers::check throws, and Error(world) on a frame that was not announced.
  void run(const std::function<bool()>& done, int wake_fd, const std::function<void()>& tick);

  uint64_t bytes_sent() const { return bytes_sent_; }
  /// A frame to `rank` was begun and not ended.
  bool is_cut(int rank) const { return !ways_[rank].out.empty() && ways_[rank].out.front().begun; }

 private:
  /// A frame of which a part has moved.
  struct Frame {
    FrameHeader header;
    Bytes head;                // the encoded header; first of parts
    std::vector<iovec> parts;  // what has not moved yet starts at parts[next]
    size_t next = 0;
    bool begun = false;
    bool checked = false;   // received: the head is the announced one
    Checksum arrived = {};  // received: of the payload so far
    Bytes spoilt = {};      // tests: what is sent in place of the payload's first part
    void absorb(size_t bytes);
    void advance(size_t bytes);
    bool complete() const { return next == parts.size(); }
    bool has_head() const { return next > 0; }
    msghdr message();
  };
  struct Way {
    std::deque<Frame> out, in;
  };

  static Frame make(const FrameHeader& header, Bytes head);
  bool write_some(int rank);
  bool read_some(int rank);
  void check_head(int rank, Frame& frame);
  void check_payload(int rank, const Frame& frame) const;
  static void spoil(Frame& frame);
  bool move(int wake_fd);
  std::vector<int> peers_at_hand() const;

  Peers& peers_;
  std::vector<Way> ways_;  // by rank
  uint64_t bytes_sent_ = 0;
};

}  // namespace stoker::collective
