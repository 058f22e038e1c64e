#include "pieces/pieces.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <memory>
#include <string_view>
#include <vector>

namespace {

using Processor = sentencepiece::SentencePieceProcessor;

Processor& of(void* model) { return *static_cast<Processor*>(model); }

void* open(const char* bytes, size_t size, char* why, size_t room) try {
  auto processor = std::make_unique<Processor>();
  const auto status = processor->LoadFromSerializedProto({bytes, size});
  if (status.ok()) return processor.release();
  std::snprintf(why, room, "%s", status.ToString().c_str());
  return nullptr;
} catch (const std::exception& error) {
  std::snprintf(why, room, "%s", error.what());
  return nullptr;
}

size_t encode(void* model, const char* text, size_t size, int64_t* numbers, size_t most) {
  std::vector<int> found;
  if (!of(model).Encode({text, size}, &found).ok()) return 0;
  const size_t count = std::min(most, found.size());
  std::copy_n(found.begin(), count, numbers);
  return count;
}

}  // namespace

const stoker::pieces::Functions* stoker_pieces() {
  static const stoker::pieces::Functions functions{
      .open = open,
      .close = [](void* model) { delete static_cast<Processor*>(model); },
      .count = [](void* model) -> int32_t { return of(model).GetPieceSize(); },
      .begin = [](void* model) -> int32_t { return of(model).bos_id(); },
      .end = [](void* model) -> int32_t { return of(model).eos_id(); },
      .encode = encode,
  };
  return &functions;
}
