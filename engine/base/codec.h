#pragma once
// Bytes and the one codec of all wire formats: little-endian fixed-width numbers, strings as u32 length + bytes.
#include <bit>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.h"

namespace stoker {

static_assert(std::endian::native == std::endian::little, "the codec copies numbers as they lie in memory");

using Bytes = std::vector<std::byte>;
using ByteView = std::span<const std::byte>;

inline ByteView as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
inline std::string to_string(ByteView bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

/// Appends values to a buffer.
class Encoder {
 public:
  template <typename T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) Encoder& put(T value) {
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), raw, raw + sizeof(T));
    return *this;
  }
  Encoder& put(std::string_view text) { return put(as_bytes(text)); }
  Encoder& put(ByteView bytes) {
    put(static_cast<uint32_t>(bytes.size()));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  /// What has been put so far.
  ByteView view() const { return bytes_; }
  Bytes take() { return std::move(bytes_); }

 private:
  Bytes bytes_;
};

/// Reads values in the order they were put. Throws Error(world) on a short or over-long buffer.
class Decoder {
 public:
  explicit Decoder(ByteView bytes) : rest_(bytes) {}
  template <typename T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>) T get() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  ByteView bytes() { return take(get<uint32_t>()); }
  std::string text() { return to_string(bytes()); }
  /// The message ends here.
  void done() const {
    if (!rest_.empty()) fail_world("message has ", rest_.size(), " bytes too many");
  }

 private:
  ByteView take(size_t n) {
    if (n > rest_.size()) fail_world("message is cut short: ", n, " bytes wanted, ", rest_.size(), " left");
    const auto head = rest_.first(n);
    rest_ = rest_.subspan(n);
    return head;
  }
  ByteView rest_;
};

}  // namespace stoker
