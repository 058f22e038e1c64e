#pragma once
// Tests' man in the middle: it stands between a connector and a listener and passes on what they say, message by
// message, as the test wants it. One thread for each direction.
#include <sys/socket.h>

#include <cstring>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

#include "net/frame.h"
#include "net/socket.h"

namespace stoker::net {

/// How a stream is cut into messages: those of the handshake, by their lengths, then frames.
struct Cut {
  size_t head;                                 // bytes of a frame's header with its tag
  std::function<size_t(ByteView head)> body;   // without its tag
  std::vector<size_t> to_listener = {56, 32};  // of the handshake
  std::vector<size_t> to_connector = {88};
};

class Relay {
 public:
  enum class To { listener, connector };
  /// What is sent in place of frame `number` of this direction; nothing ends the connection.
  using Change = std::function<std::optional<Bytes>(To, size_t number, Bytes frame)>;

  /// For one connection to 127.0.0.1.
  Relay(int port, Cut cut, Change change) : cut_(std::move(cut)), change_(std::move(change)) {
    thread_ = std::jthread([this, port](const std::stop_token& stop) {
      while (!wait_readable(listener_.get(), soon(0.02)))
        if (stop.stop_requested()) return;
      connector_ = accept_tcp(listener_.get());
      far_ = connect_tcp("127.0.0.1", port, soon(5));
      const std::jthread back([this, stop] { pass_all(stop, far_, connector_, To::connector, cut_.to_connector); });
      pass_all(stop, connector_, far_, To::listener, cut_.to_listener);
    });
  }
  int port() const { return local_port(listener_.get()); }
  /// Whether the bytes have gone over the wire, either way.
  bool saw(ByteView bytes) {
    const std::lock_guard lock(mutex_);
    return memmem(seen_.data(), seen_.size(), bytes.data(), bytes.size()) != nullptr;
  }

 private:
  static TimePoint soon(double s) { return Clock::now() + from_seconds(s); }

  void pass_all(const std::stop_token& stop, const Fd& from, const Fd& to, To where,
                const std::vector<size_t>& shakes) {
    try {
      for (const size_t size : shakes) write_all(to.get(), read(stop, from, size), soon(5));
      for (size_t number = 0;; ++number) {
        const auto frame = changed(where, number, read_frame(stop, from));
        if (!frame) break;
        write_all(to.get(), *frame, soon(5));
      }
    } catch (const Error&) {  // one of the two has ended it
    }
    ::shutdown(from.get(), SHUT_RDWR);
    ::shutdown(to.get(), SHUT_RDWR);
  }

  static Bytes read(const std::stop_token& stop, const Fd& from, size_t size) {
    Bytes bytes(size);
    for (size_t at = 0; at < size;) {
      if (stop.stop_requested()) fail_world("the test is over");
      if (wait_readable(from.get(), soon(0.02))) at += read_some(from.get(), std::span(bytes).subspan(at));
    }
    return bytes;
  }
  Bytes read_frame(const std::stop_token& stop, const Fd& from) const {
    Bytes frame = read(stop, from, cut_.head);
    const size_t body = cut_.body(frame);
    const Bytes rest = read(stop, from, body == 0 ? 0 : body + kTagBytes);
    frame.insert(frame.end(), rest.begin(), rest.end());
    return frame;
  }
  std::optional<Bytes> changed(To where, size_t number, Bytes frame) {
    const std::lock_guard lock(mutex_);
    seen_.insert(seen_.end(), frame.begin(), frame.end());
    return change_(where, number, std::move(frame));
  }

  const Cut cut_;
  const Change change_;
  const Fd listener_ = listen_tcp("127.0.0.1");
  Fd connector_, far_;
  std::mutex mutex_;  // guards seen_, and what change_ uses
  Bytes seen_;
  std::jthread thread_;
};

inline Relay::Change unchanged() {
  return [](Relay::To, size_t, Bytes frame) { return std::optional(std::move(frame)); };
}

/// The ways of tampering with a frame of a direction, as `number` comes by: changes of it that hold it, or what it has
/// seen, back.
struct Tampering {
  std::string name;
  Relay::Change change;
};
inline std::vector<Tampering> tamperings(Relay::To where, size_t number, size_t head) {
  using To = Relay::To;
  const auto flip = [=](std::string name, std::function<size_t(size_t)> at) {
    return Tampering{std::move(name), [=](To to, size_t n, Bytes frame) {
                       if (to == where && n == number) frame[at(frame.size())] ^= std::byte{4};
                       return std::optional(std::move(frame));
                     }};
  };
  const auto held = std::make_shared<Bytes>();
  const auto joined = [](Bytes a, const Bytes& b) {
    a.insert(a.end(), b.begin(), b.end());
    return std::optional(std::move(a));
  };
  return {
      flip("kind", [](size_t) { return 4; }),
      flip("header", [=](size_t) { return head - kTagBytes - 9; }),
      flip("tag of the header", [=](size_t) { return head - 1; }),
      flip("first of the body", [=](size_t) { return head; }),
      flip("last of the body", [=](size_t size) { return size - kTagBytes - 1; }),
      flip("tag of the body", [=](size_t size) { return size - 1; }),
      {"cut",
       [=](To to, size_t n, Bytes frame) { return to == where && n == number ? std::nullopt : std::optional(frame); }},
      {"repeated",
       [=](To to, size_t n, Bytes frame) { return to == where && n == number ? joined(frame, frame) : frame; }},
      {"left out", [=](To to, size_t n, Bytes frame) { return to == where && n == number ? Bytes() : frame; }},
      {"swapped",
       [=](To to, size_t n, Bytes frame) -> std::optional<Bytes> {
         if (to != where || n < number || n > number + 1) return frame;
         if (n == number + 1) return joined(frame, *held);
         *held = std::move(frame);
         return Bytes();
       }},
      {"reflected",
       [=](To to, size_t n, Bytes frame) -> std::optional<Bytes> {
         if (to == where && n == number) *held = frame;
         return to != where && !held->empty() ? std::exchange(*held, {}) : std::move(frame);
       }},
  };
}

}  // namespace stoker::net
