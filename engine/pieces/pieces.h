#pragma once
// SentencePiece (Kudo and Richardson, EMNLP 2018) behind functions of C, in a library of its own that is loaded where
// it is needed: it brings a protobuf, and so does libtorch, another one. The two never see each other's symbols.
//
// A model may be used by any number of threads.
#include <cstddef>
#include <cstdint>

namespace stoker::pieces {

struct Functions {
  /// `bytes` are a model file's content. nullptr where they are none; `why` then says it, cut to `room` bytes with the
  /// zero at its end.
  void* (*open)(const char* bytes, size_t size, char* why, size_t room);
  void (*close)(void* model);
  int32_t (*count)(void* model);
  /// The numbers of "begin of sentence" and "end of sentence", negative where the model has none.
  int32_t (*begin)(void* model);
  int32_t (*end)(void* model);
  /// Writes the numbers of the first `most` pieces of a text in UTF-8; how many these are.
  size_t (*encode)(void* model, const char* text, size_t size, int64_t* numbers, size_t most);
};

}  // namespace stoker::pieces

extern "C" const stoker::pieces::Functions* stoker_pieces();
