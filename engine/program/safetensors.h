#pragma once
// The safetensors file: u64 header length, JSON header, then the tensors' bytes without holes. Sees no libtorch.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/codec.h"

namespace stoker::program {

/// One tensor of a file. A view: whoever holds it keeps the bytes alive.
struct NamedTensor {
  std::string name;
  std::string dtype;  // "float32", "int64", ...: torch's names
  std::vector<int64_t> shape;
  ByteView data;
};

/// Bytes of one element. Throws Error(user) on a name that safetensors does not have.
size_t item_size(const std::string& dtype);

/// The tensors of one file, by name. Immutable; a view over bytes that the caller keeps.
class SafeTensors {
 public:
  /// Throws Error(user) that begins with `what` when the bytes are foreign, truncated or contradict themselves.
  SafeTensors(ByteView bytes, const std::string& what);
  /// In the order in which they lie in the file.
  const std::vector<NamedTensor>& tensors() const { return tensors_; }
  /// Null when there is none of this name.
  const NamedTensor* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::vector<NamedTensor> tensors_;
  std::map<std::string, size_t> index_;
  std::map<std::string, std::string> metadata_;
};

/// The file for these tensors: wide elements first, otherwise in the order given, so that each lies at a multiple of
/// its element size. The same input gives the same bytes.
Bytes write_safetensors(std::vector<NamedTensor> tensors, const std::map<std::string, std::string>& metadata = {});

/// A file mapped read-only for as long as the object lives.
class MappedFile {
 public:
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ByteView bytes() const { return bytes_; }

 private:
  ByteView bytes_;
};

}  // namespace stoker::program
