#pragma once
// One proven connection of the I/O loop: frames in and a queue out. Used by the loop's thread only; nothing here
// blocks. Part of io_loop.cc, in a file of its own for its size.
#include <sys/socket.h>

#include <cstdint>
#include <deque>
#include <functional>

#include "net/frame.h"
#include "net/socket.h"

namespace stoker::net {

class Connection {
 public:
  Connection(Fd fd, Seals seals, size_t max_body)
      : fd_(std::move(fd)), seal_(std::move(seals.out)), reader_(max_body, std::move(seals.in)) {}

  int fd() const { return fd_.get(); }
  size_t queued() const { return queued_; }
  uint64_t gone() const { return gone_; }

  /// Reads what is there, up to a fair share, and calls `take` for each frame. Throws Error(world) when the connection
  /// has ended or what came is wrong.
  void read(const std::function<void(Frame)>& take);
  /// Sends as much as the kernel takes. Throws Error(world) when the connection is broken.
  void flush();
  /// Seals and queues an encoded frame.
  void push(Bytes frame);

  bool closing = false;  // ends as soon as the queue is empty
  TimePoint since;       // it began to close
  bool watching_out = false;

 private:
  size_t receive(std::span<std::byte> into);  // 0: nothing there yet

  Fd fd_;
  Seal seal_;
  FrameReader reader_;
  std::deque<Bytes> out_;
  size_t sent_ = 0;    // bytes of out_.front() that have gone
  size_t queued_ = 0;  // bytes of out_ that have not
  uint64_t gone_ = 0;  // frames that were pushed and are in out_ no more
};

}  // namespace stoker::net
