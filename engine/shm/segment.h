#pragma once
// A piece of memory that processes of one host share. Owned by one object, moved, never copied; the bytes themselves
// are shared and whoever uses them keeps order by flags (wake.h).
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/codec.h"

namespace stoker::shm {

class Segment {
 public:
  Segment() = default;
  /// Zero-filled memory (a memfd called `name` in /proc/PID/maps), allocated in full: too little memory is an
  /// Error(world) here and never a SIGBUS later. Its size is sealed.
  Segment(const std::string& name, size_t bytes);
  /// Maps what a peer made. Takes `fd` over. Throws Error(world) when it is not `bytes` long or could still shrink.
  static Segment adopt(int fd, size_t bytes);
  /// Zero-filled memory of this process alone, without a descriptor; pages come as they are touched.
  static Segment unshared(size_t bytes);
  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&& other) noexcept;
  ~Segment();

  std::span<std::byte> bytes() const { return bytes_; }
  /// The same memory, mapped once more. REQUIRES: it has a descriptor.
  Segment again() const;
  /// The descriptor, to be passed to peers. The segment keeps it.
  int fd() const { return fd_; }
  /// The same number in every process that has this memory, and another one for other memory. REQUIRES: it has a
  /// descriptor.
  uint64_t id() const;
  /// From now on this mapping can only be read.
  void protect();
  /// Closes the descriptor; the memory stays mapped.
  void close_fd();

 private:
  void map(size_t bytes, int flags);
  int fd_ = -1;
  std::span<std::byte> bytes_;
};

/// Makes a segment by writing it from its beginning to its end, before anybody maps it: its pages come by the write,
/// many in one call. Failures throw Error(world).
class SegmentWriter {
 public:
  explicit SegmentWriter(const std::string& name);
  ~SegmentWriter();
  SegmentWriter(const SegmentWriter&) = delete;
  void write(ByteView bytes);
  /// Nothing may be written afterwards.
  Segment finish();

 private:
  int fd_;
  size_t size_ = 0;
};

}  // namespace stoker::shm
