#pragma once
// The one I/O loop: one thread, epoll and an eventfd to wake it. It accepts, shakes hands, cuts frames, writes what is
// queued and never blocks. Methods may be called from any thread; the handler is called from the loop's thread only,
// one call at a time, and its exceptions end just the connection that they came from.
//
// Who has not proven the secret yet waits in a lobby (net/lobby.h) and is not known here.
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "net/frame.h"
#include "net/handshake.h"
#include "net/socket.h"

namespace stoker::net {

using ConnectionId = uint64_t;  // never used twice in one loop

class LoopHandler {
 public:
  virtual ~LoopHandler() = default;
  /// A connection proved the secret.
  virtual void opened(ConnectionId) {}
  virtual void received(ConnectionId, Frame frame) = 0;
  /// Last call for this id, with the reason. Not called for strangers, nor for what close() or the loop's end closed.
  virtual void closed(ConnectionId, const std::string& reason) = 0;
  /// Of all frames that were ever queued on this connection so many have gone to the kernel. Who queues more than a few
  /// holds back by it: see max_queue.
  virtual void sent(ConnectionId, uint64_t frames) {}
  virtual void tick(TimePoint now) {}
};

struct LoopOptions {
  Bytes secret;
  Purpose purpose = {};         // of the connections to its listener
  size_t max_body = 2 << 20;    // bytes of a frame's body, both ways
  size_t max_queue = 64 << 20;  // bytes that may wait to be sent; a peer that reads no more is dropped
  Duration stranger_time = std::chrono::seconds(5);  // a closing connection may take as long
  size_t max_strangers = 256;
  Duration tick = std::chrono::milliseconds(50);
};

class IoLoop {
 public:
  /// `listener` may be empty. The handler must outlive the loop.
  IoLoop(LoopOptions options, LoopHandler& handler, Fd listener = {});
  /// Closes everything and joins the thread. Not from the loop's thread.
  ~IoLoop();

  /// Takes over a connection that has proven the secret already. opened() is not called for it.
  ConnectionId adopt(Fd connection, Seals seals);
  /// Queues a frame. Unknown ids are ignored: the connection has gone. Throws Error(bug) for an oversized body.
  void send(ConnectionId id, uint16_t kind, uint64_t generation, ByteView body);
  /// Closes once what is queued has been sent.
  void close(ConnectionId id);
  /// Runs `work` on the loop's thread.
  void post(std::function<void()> work);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::net
