#include "images/decode.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "images/codecs.h"

namespace stoker::images {
namespace {

std::string first_bytes(Bytes file) {
  std::string text;
  for (const std::byte byte : file.first(std::min<size_t>(file.size(), 4))) {
    constexpr char digits[] = "0123456789abcdef";
    text += cat(text.empty() ? "" : " ", digits[static_cast<int>(byte) >> 4], digits[static_cast<int>(byte) & 15]);
  }
  return text;
}

}  // namespace

void check_size(int64_t width, int64_t height, const Wanted& wanted) {
  if (width * height <= wanted.max_pixels) return;
  throw BadImage(kTooLarge, cat("has ", width, " x ", height, " pixels, more than the ", wanted.max_pixels,
                                " that maxPixels allows"));
}

void fail_broken(const char* format, const char* cause, Bytes file) {
  throw BadImage(kBroken, cat("is a broken ", format, ": ", cause, " (", file.size(), " bytes)"));
}

void decode(Bytes file, const Wanted& wanted, Image& out) {
  using namespace std::string_view_literals;
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.starts_with("\xff\xd8\xff"sv)) return decode_jpeg(file, wanted, out);
  if (text.starts_with("\x89PNG\r\n\x1a\n"sv)) return decode_png(file, wanted, out);
  if (text.starts_with("RIFF"sv) && text.substr(0, 12).ends_with("WEBP"sv)) return decode_webp(file, wanted, out);
  const std::string begin = file.empty() ? "" : cat(", which begin ", first_bytes(file));
  throw BadImage(kUnknown, cat("is no JPEG, PNG or WebP (", file.size(), " bytes", begin, ")"));
}

}  // namespace stoker::images
