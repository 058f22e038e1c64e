// A file of weights. What can be read lies within the file, and is written again to a file that reads the same.
#include "program/safetensors.h"

#include "fuzz.h"

FUZZ_TARGET(input) {
  using namespace stoker;
  try {
    const program::SafeTensors file(input, "the weights");
    for (const auto& tensor : file.tensors()) {
      fuzz::require(tensor.data.data() >= input.data());
      fuzz::require(tensor.data.data() + tensor.data.size() <= input.data() + input.size());
    }
    const Bytes again = program::write_safetensors(file.tensors(), file.metadata());
    fuzz::require(program::SafeTensors(again, "the same").tensors().size() == file.tensors().size());
  } catch (const Error& error) {
    fuzz::require(error.kind() == ErrorKind::user);
  }
}
