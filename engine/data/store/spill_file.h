#pragma once
// Bytes that do not fit into memory, in files without names: unlinked at once, so that nothing is left however the
// process ends. An address space in extents, which lie in the folders in turn; an extent is allocated in full before it
// is written, so a full disk is an error there and then. Only pwrite and pread touch the files: nothing is mapped.
//
// One thread writes; any number may read what has been written.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace stoker::data {

struct SpillOptions {
  std::vector<std::string> folders;  // those that cannot be written to are passed over
  bool encrypt = false;              // AES-256 in counter mode, under a random key that only this object has
  size_t extent_bytes = size_t{16} << 20;
};

class SpillFile {
 public:
  explicit SpillFile(SpillOptions options);
  ~SpillFile();

  /// Allocates all from there on. Throws Error(world) that says how much room was missing, and where.
  void reserve(uint64_t at, uint64_t bytes);
  /// What was written is of no use any more: every place may be written once more.
  void renew();
  /// Throws as reserve() does. No place may be written twice.
  void write(uint64_t at, std::span<const std::byte> bytes);
  /// REQUIRES: all of it was written.
  void read(uint64_t at, std::span<std::byte> into) const;
  /// The same where the kernel has it in memory; else false, and something may have been written into `into`.
  bool read_cached(uint64_t at, std::span<std::byte> into) const;
  /// The same where what follows will be read next: the kernel is asked for that as well, unless it has this.
  void read_on(uint64_t at, std::span<std::byte> into) const;
  /// A hint that this will be read soon.
  void expect(uint64_t at, size_t bytes) const;
  /// Allocated in the folders.
  uint64_t bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace stoker::data
