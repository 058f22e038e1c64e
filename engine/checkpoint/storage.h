#pragma once
// Where checkpoints are kept: objects with names such as "step-7/part-0-of-2". Two verbs, which any thread may call.
#include <memory>
#include <span>
#include <string>

#include "base/codec.h"

namespace stoker::checkpoint {

class Storage {
 public:
  virtual ~Storage() = default;
  /// Makes the object of these pieces, put end to end. On return it is there for good and whole; before, it is not
  /// there, or is what it was, or is torn. Throws Error(world) that names the object and the cause.
  virtual void put(const std::string& name, std::span<const ByteView> pieces) = 0;
  /// The whole object. Throws Error(world).
  virtual Bytes get(const std::string& name) = 0;
};

/// A folder of a mounted file system, given by its absolute path; it and the folders in names are made as needed. An
/// object is written under another name, forced to the disk and renamed, so that it is whole or not there.
std::unique_ptr<Storage> make_file_storage(const std::string& folder);

}  // namespace stoker::checkpoint
