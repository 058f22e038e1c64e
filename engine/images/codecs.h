#pragma once
// One decoder a format, each in a file of its own; see decode.h. For this folder only.
#include "images/decode.h"

namespace stoker::images {

using Bytes = std::span<const std::byte>;

void decode_jpeg(Bytes file, const Wanted& wanted, Image& out);
void decode_png(Bytes file, const Wanted& wanted, Image& out);
void decode_webp(Bytes file, const Wanted& wanted, Image& out);

/// Throws BadImage for a picture of more pixels than are allowed.
void check_size(int64_t width, int64_t height, const Wanted& wanted);
/// Throws BadImage "is a broken <format>: <cause> (<n> bytes)".
[[noreturn]] void fail_broken(const char* format, const char* cause, Bytes file);

}  // namespace stoker::images
