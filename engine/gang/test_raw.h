#pragma once
// Tests' peer without manners: it speaks the protocol's bytes, right or wrong, as the test says. One thread.
#include <optional>

#include "gang/test_fit.h"
#include "net/frame.h"
#include "net/handshake.h"
#include "net/socket.h"

namespace stoker::gang {

inline TimePoint in(double s) { return Clock::now() + from_seconds(s); }

/// A connection whose every byte is the test's.
class Raw {
 public:
  explicit Raw(const Fit& fit) : fd_(net::connect_tcp("127.0.0.1", fit.coordinator->port(), in(5))) {}
  Raw(net::Fd fd) : fd_(std::move(fd)) {}
  void prove(net::Role role, ByteView secret) {
    auto [out, in_] = net::handshake_blocking(fd_.get(), role, secret, control_purpose(false), in(5));
    seal_.emplace(std::move(out));
    reader_.emplace(kMaxBody, std::move(in_));
  }
  /// One that knows the secret.
  static Raw insider(const Fit& fit) {
    Raw raw(fit);
    raw.prove(net::Role::connector, fit.options.secret);
    return raw;
  }
  /// An insider that has said hello.
  static Raw member(const Fit& fit, const Hello& hello) {
    Raw raw = insider(fit);
    raw.say(hello);
    raw.hear();
    return raw;
  }

  /// The other end may close at the first wrong byte, before all are written; ended() tells.
  void write(ByteView bytes) try { net::write_all(fd_.get(), bytes, in(5)); } catch (const Error& error) {
    if (std::string(error.what()).find("Broken pipe") == std::string::npos &&
        std::string(error.what()).find("reset") == std::string::npos)
      throw;
  }
  Bytes read(size_t n) {
    Bytes bytes(n);
    net::read_exact(fd_.get(), bytes, in(5));
    return bytes;
  }
  /// Takes in so many bytes of what is said and looks at none; fewer where the connection ends.
  size_t drain(size_t bytes) {
    Bytes buffer(1 << 20);
    size_t got = 0;
    try {
      while (got < bytes && net::wait_readable(fd_.get(), in(5))) got += net::read_some(fd_.get(), buffer);
    } catch (const Error&) {  // it has ended
    }
    return got;
  }
  /// As the link's next frame, where there is a link.
  Bytes sealed(Bytes frame) {
    if (seal_) net::seal_frame(*seal_, frame);
    return frame;
  }
  void say(Kind kind, ByteView body, uint64_t generation = 0) {
    write(sealed(net::encode_frame(static_cast<uint16_t>(kind), generation, body, 64 << 20)));
  }
  template <typename Message>
  requires requires { Message::kKind; }
  void say(const Message& message, uint64_t generation = 0) { say(Message::kKind, message.encode(), generation); }
  /// The next frame that is no ping.
  net::Frame hear() {
    std::optional<net::Frame> frame;
    while (!frame || static_cast<Kind>(frame->kind) == Kind::ping) {
      reader_->feed(read(1), [&](net::Frame f) { frame = std::move(f); });
    }
    return *frame;
  }
  /// Whether the coordinator closes it within the time.
  bool ended(double within = 5) {
    const auto deadline = in(within);
    try {
      for (std::byte byte;;) net::read_exact(fd_.get(), {&byte, 1}, deadline);
    } catch (const Error& error) {
      return std::string(error.what()).find("timed out") == std::string::npos;
    }
  }

 private:
  net::Fd fd_;
  std::optional<net::Seal> seal_;
  std::optional<net::FrameReader> reader_;
};

}  // namespace stoker::gang
