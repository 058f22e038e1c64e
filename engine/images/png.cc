// PNG by libpng: any depth and colour, interlaced or not; 16 bits are cut to their upper 8.
#include <png.h>

#include <csetjmp>
#include <cstring>

#include "images/codecs.h"

namespace stoker::images {
namespace {

/// Owns libpng's state. Nothing that has a destructor may live in a step, which a longjmp may end.
class Decoder {
 public:
  explicit Decoder(Bytes file) : file_(file), left_(file) {
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, give_up, [](png_structp, png_const_charp) {});
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) throw std::bad_alloc();
    png_set_read_fn(png_, this, read);
  }
  ~Decoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Decoder(const Decoder&) = delete;

  template <typename F>
  void step(F what) {
    if (setjmp(back_) != 0) fail_broken("PNG", text_, file_);
    what(png_, info_);
  }

 private:
  static void give_up(png_structp png, png_const_charp text) {
    auto* self = static_cast<Decoder*>(png_get_error_ptr(png));
    std::strncpy(self->text_, text, sizeof self->text_ - 1);
    std::longjmp(self->back_, 1);
  }
  static void read(png_structp png, png_bytep out, size_t bytes) {
    auto* self = static_cast<Decoder*>(png_get_io_ptr(png));
    if (bytes > self->left_.size()) png_error(png, "the file ends too soon");
    std::memcpy(out, self->left_.data(), bytes);
    self->left_ = self->left_.subspan(bytes);
  }

  Bytes file_, left_;
  std::jmp_buf back_;
  char text_[128] = {};
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
};

}  // namespace

void decode_png(Bytes file, const Wanted& wanted, Image& out) {
  Decoder decoder(file);
  int64_t width = 0, height = 0;
  decoder.step([&](png_structp png, png_infop info) {
    png_read_info(png, info);
    width = png_get_image_width(png, info);
    height = png_get_image_height(png, info);
  });
  check_size(width, height, wanted);
  int channels = 0, passes = 0;
  decoder.step([&](png_structp png, png_infop info) {
    png_set_palette_to_rgb(png);
    png_set_expand_gray_1_2_4_to_8(png);
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    channels = png_get_channels(png, info);
  });
  out.reset({static_cast<int>(height), static_cast<int>(width)}, channels);
  uint8_t* pixels = out.pixels.data();
  decoder.step([&](png_structp png, png_infop) {
    for (int pass = 0; pass < passes; ++pass)
      for (int64_t y = 0; y < height; ++y) png_read_row(png, pixels + y * width * channels, nullptr);
  });
  to_channels(out, wanted.channels);
}

}  // namespace stoker::images
