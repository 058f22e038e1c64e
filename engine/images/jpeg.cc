// JPEG by libjpeg-turbo, reduced by its scaled inverse DCT where a smaller picture is enough.
// jpeglib.h leans on what comes before it, and jerror.h on jpeglib.h.
// clang-format off
#include <csetjmp>
#include <cstdio>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include "images/codecs.h"

namespace stoker::images {
namespace {

struct Trouble : jpeg_error_mgr {
  std::jmp_buf back;
  char text[JMSG_LENGTH_MAX];
};

void give_up(j_common_ptr info) {
  auto* trouble = static_cast<Trouble*>(info->err);
  info->err->format_message(info, trouble->text);
  std::longjmp(trouble->back, 1);
}

/// Harmless oddities are passed over, as other readers do; a file that ends too soon is not.
void hear(j_common_ptr info, int level) {
  if (level < 0 && info->err->msg_code == JWRN_JPEG_EOF) give_up(info);
}

/// Owns libjpeg's state. Nothing that has a destructor may live in a step, which a longjmp may end.
class Decoder {
 public:
  explicit Decoder(Bytes file) : file_(file) {
    info_.err = jpeg_std_error(&trouble_);
    trouble_.error_exit = give_up;
    trouble_.emit_message = hear;
    step([&] { jpeg_create_decompress(&info_); });
  }
  ~Decoder() { jpeg_destroy_decompress(&info_); }
  Decoder(const Decoder&) = delete;

  template <typename F>
  void step(F what) {
    if (setjmp(trouble_.back) != 0) fail_broken("JPEG", trouble_.text, file_);
    what();
  }
  jpeg_decompress_struct* operator->() { return &info_; }
  jpeg_decompress_struct* get() { return &info_; }

 private:
  Bytes file_;
  Trouble trouble_{};
  jpeg_decompress_struct info_{};
};

int reduction(const jpeg_decompress_struct& info, Size at_least) {
  for (const int by : {8, 4, 2}) {
    if (static_cast<int64_t>(info.image_width) >= int64_t{by} * at_least.width &&
        static_cast<int64_t>(info.image_height) >= int64_t{by} * at_least.height)
      return by;
  }
  return 1;
}

J_COLOR_SPACE color_space(const jpeg_decompress_struct& info, int channels) {
  if (info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK) return JCS_CMYK;
  return channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
}

/// Inks as Adobe writes them: 255 is none.
void from_inks(Image& image) {
  for (size_t i = 0; i < image.pixels.size(); i += 4) {
    uint8_t* inks = image.pixels.data() + i;
    for (int c = 0; c < 3; ++c) inks[c] = static_cast<uint8_t>((inks[c] * inks[3] + 127) / 255);
  }
}

}  // namespace

void decode_jpeg(Bytes file, const Wanted& wanted, Image& out) {
  Decoder jpeg(file);
  jpeg.step([&] {
    jpeg_mem_src(jpeg.get(), reinterpret_cast<const unsigned char*>(file.data()), file.size());
    jpeg_read_header(jpeg.get(), TRUE);
  });
  check_size(jpeg->image_width, jpeg->image_height, wanted);
  jpeg->scale_num = 1;
  jpeg->scale_denom = reduction(*jpeg.get(), wanted.at_least);
  jpeg->out_color_space = color_space(*jpeg.get(), wanted.channels);
  jpeg->dct_method = JDCT_ISLOW;  // the exact one, whose bits do not depend on the machine
  jpeg.step([&] { jpeg_start_decompress(jpeg.get()); });
  out.reset({static_cast<int>(jpeg->output_height), static_cast<int>(jpeg->output_width)}, jpeg->output_components);
  out.width = static_cast<double>(jpeg->image_width) / jpeg->scale_denom;
  out.height = static_cast<double>(jpeg->image_height) / jpeg->scale_denom;
  uint8_t* row = out.pixels.data();
  jpeg.step([&] {
    for (; jpeg->output_scanline < jpeg->output_height; row += jpeg->output_width * jpeg->output_components)
      jpeg_read_scanlines(jpeg.get(), &row, 1);
  });
  if (jpeg->out_color_space == JCS_CMYK) from_inks(out);
  to_channels(out, wanted.channels);
}

}  // namespace stoker::images
