#include "net/connection.h"

#include <array>
#include <cerrno>

#include "base/fault.h"

namespace stoker::net {
namespace {

constexpr size_t kReadSize = 64 << 10;
constexpr int kFairReads = 16;

}  // namespace

size_t Connection::receive(std::span<std::byte> into) {
  const ssize_t got = recv(fd_.get(), into.data(), into.size(), MSG_DONTWAIT);
  if (got > 0) return static_cast<size_t>(got);
  if (got == 0) fail_world("the connection closed", reader_.inside_frame() ? " in the middle of a frame" : "");
  if (errno != EAGAIN && errno != EINTR) fail_errno("the connection broke");
  return 0;
}

void Connection::read(const std::function<void(Frame)>& take) {
  std::array<std::byte, kReadSize> buffer;
  for (int i = 0; i < kFairReads; ++i) {
    const size_t got = receive(buffer);
    reader_.feed(ByteView(buffer).first(got), take);
    if (got < buffer.size()) return;
  }
}

void Connection::push(Bytes frame) {
  seal_frame(seal_, frame);
  fault::frame("link", frame);
  if (frame.empty()) {  // a planted fault took it
    ++gone_;
    return;
  }
  queued_ += frame.size();
  out_.push_back(std::move(frame));
}

void Connection::flush() {
  while (!out_.empty()) {
    const ByteView rest = ByteView(out_.front()).subspan(sent_);
    const ssize_t sent = send(fd_.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno == EAGAIN) return;
    if (sent < 0) fail_errno("the connection broke");
    queued_ -= static_cast<size_t>(sent);
    sent_ += static_cast<size_t>(sent);
    if (static_cast<size_t>(sent) < rest.size()) continue;
    out_.pop_front();
    ++gone_;
    sent_ = 0;
  }
}

}  // namespace stoker::net
