#pragma once
// Pictures in memory, and what is wrong with those that cannot be read.
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace stoker::images {

struct Size {
  int height = 0;
  int width = 0;
  int64_t pixels() const { return int64_t{height} * width; }
  friend bool operator==(const Size&, const Size&) = default;
};

/// 8 bits a channel (1: grey, 3: red, green, blue), interleaved, rows from the top without gaps. Does not own them.
struct View {
  const uint8_t* pixels = nullptr;
  Size size;
  int channels = 0;
};

/// The same, owned. To be used again and again, for its memory.
struct Image {
  std::vector<uint8_t> pixels;
  Size size;
  int channels = 0;
  double width = 0, height = 0;  // of the picture, in pixels: a reduced one may end inside of its last ones

  void reset(Size to, int with_channels);
  View view() const { return {pixels.data(), size, channels}; }
};

/// The user's fault. `reason` is the kind of it, to be counted: "is no image that can be read".
class BadImage : public std::runtime_error {
 public:
  BadImage(const char* why, const std::string& what) : std::runtime_error(what), reason(why) {}
  const char* reason;
};

constexpr char kBroken[] = "is a broken image";
constexpr char kUnknown[] = "is no image that can be read";
constexpr char kTooLarge[] = "has too many pixels";

/// In place, from `from` channels to `to`, each 1, 3 or 4; a fourth is dropped. Grey is ITU-R 601's luma.
void to_channels(Image& image, int to);

}  // namespace stoker::images
