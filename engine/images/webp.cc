// WebP by libwebp, lossy and lossless; of an animation nothing.
#include <webp/decode.h>

#include "base/error.h"
#include "images/codecs.h"

namespace stoker::images {
namespace {

const char* text_of(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "the file ends too soon";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "it has a feature that is not supported";
    case VP8_STATUS_OUT_OF_MEMORY:
      return "there is not enough memory";
    default:
      return "its data are damaged";
  }
}

}  // namespace

void decode_webp(Bytes file, const Wanted& wanted, Image& out) {
  const auto* data = reinterpret_cast<const uint8_t*>(file.data());
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) fail_bug("libwebp is of another version than its header");
  if (const auto status = WebPGetFeatures(data, file.size(), &config.input); status != VP8_STATUS_OK)
    fail_broken("WebP", text_of(status), file);
  if (config.input.has_animation) throw BadImage(kUnknown, "is an animated WebP, expected a single picture");
  check_size(config.input.width, config.input.height, wanted);
  out.reset({config.input.height, config.input.width}, 3);
  config.output.colorspace = MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {out.pixels.data(), config.input.width * 3, out.pixels.size()};
  if (const auto status = WebPDecode(data, file.size(), &config); status != VP8_STATUS_OK)
    fail_broken("WebP", text_of(status), file);
  to_channels(out, wanted.channels);
}

}  // namespace stoker::images
