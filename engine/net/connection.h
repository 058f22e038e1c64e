#pragma once
// One connection of the I/O loop: a handshake, then frames in and a queue out. Used by the loop's thread only; nothing
// here blocks. Part of io_loop.cc, in a file of its own for its size.
#include <sys/socket.h>

#include <deque>
#include <functional>
#include <optional>

#include "net/frame.h"
#include "net/handshake.h"
#include "net/socket.h"

namespace stoker::net {

class Connection {
 public:
  /// `handshake` is empty for a connection that is proven already.
  Connection(Fd fd, std::optional<Handshake> handshake, size_t max_body, TimePoint now)
      : since(now), fd_(std::move(fd)), handshake_(std::move(handshake)), reader_(max_body) {}

  int fd() const { return fd_.get(); }
  bool stranger() const { return handshake_.has_value(); }
  size_t queued() const { return queued_; }

  /// Reads what is there, up to a fair share. Calls `opened` when the secret is proven and `take` for each frame.
  /// Throws Error(world) when the connection has ended or what came is wrong.
  void read(const std::function<void()>& opened, const std::function<void(Frame)>& take);
  /// Sends as much as the kernel takes. Throws Error(world) when the connection is broken.
  void flush();
  void push(Bytes bytes);

  TimePoint since;       // it came, or began to close
  bool closing = false;  // ends as soon as the queue is empty
  bool watching_out = false;

 private:
  void read_greeting(const std::function<void()>& opened);
  size_t receive(std::span<std::byte> into);  // 0: nothing there yet

  Fd fd_;
  std::optional<Handshake> handshake_;
  Bytes greeting_;  // the handshake's message as far as it has come
  FrameReader reader_;
  std::deque<Bytes> out_;
  size_t sent_ = 0;    // bytes of out_.front() that have gone
  size_t queued_ = 0;  // bytes of out_ that have not
};

}  // namespace stoker::net
