#include "shm/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "base/error.h"
#include "base/pieces.h"
#include "shm/memory.h"

namespace stoker::shm {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
// Populated at once: page faults in the first step would be paid by every rank in its inner loops.
constexpr int kShared = MAP_SHARED;

int make_file(const std::string& name) {
  const int fd = ::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0) fail_errno("memfd_create");
  return fd;
}

void seal(int fd) {
  if (::fcntl(fd, F_ADD_SEALS, kSeals) != 0) fail_errno("sealing its size");
}

void allocate(int fd, size_t bytes) {
  const size_t available = available_memory();
  if (bytes > available) fail_world(bytes >> 20, " MiB wanted, ", available >> 20, " MiB available");
  if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) fail_errno("setting its size");
  in_pieces(bytes, kPieceBytes, [&](size_t at, size_t n) {
    int failed;
    do failed = posix_fallocate(fd, static_cast<off_t>(at), static_cast<off_t>(n));
    while (failed == EINTR);
    errno = failed;
    if (failed) fail_errno(cat("allocating ", bytes, " bytes"));
  });
  seal(fd);
}

void check_adopted(int fd, size_t bytes) {
  struct stat info;
  if (::fstat(fd, &info) != 0) fail_errno("fstat");
  if (static_cast<size_t>(info.st_size) != bytes) fail_world("it has ", info.st_size, " bytes instead of ", bytes);
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) fail_world("its size is not sealed");
}

}  // namespace

Segment::Segment(const std::string& name, size_t bytes) {
  if (bytes == 0) return;
  try {
    fd_ = make_file(name);
    allocate(fd_, bytes);
    map(bytes, kShared);
  } catch (const Error& error) {
    close_fd();
    throw error.within(cat("making the shared segment ", name, " of ", bytes, " bytes"));
  }
}

Segment Segment::adopt(int fd, size_t bytes) {
  Segment segment;
  segment.fd_ = fd;
  try {
    check_adopted(fd, bytes);
    segment.map(bytes, kShared);
  } catch (const Error& error) {
    throw error.within("taking over a peer's shared segment");
  }
  return segment;
}

Segment Segment::again() const {
  const int fd = ::fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) fail_errno("duplicating a segment's descriptor");
  return adopt(fd, bytes_.size());
}

Segment Segment::unshared(size_t bytes) {
  Segment segment;
  if (bytes > 0) segment.map(bytes, MAP_PRIVATE | MAP_ANONYMOUS);
  return segment;
}

void Segment::map(size_t bytes, int flags) {
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd_, 0);
  if (at == MAP_FAILED) fail_errno("mmap");
  bytes_ = {static_cast<std::byte*>(at), bytes};
}

Segment::Segment(Segment&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), bytes_(std::exchange(other.bytes_, {})) {}

Segment& Segment::operator=(Segment&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Segment::~Segment() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
  close_fd();
}

uint64_t Segment::id() const {
  struct stat info;
  if (::fstat(fd_, &info) != 0) fail_errno("fstat");
  return info.st_ino;
}

void Segment::protect() {
  if (!bytes_.empty() && ::mprotect(bytes_.data(), bytes_.size(), PROT_READ) != 0) fail_errno("mprotect");
}

void Segment::close_fd() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

SegmentWriter::SegmentWriter(const std::string& name) : fd_(make_file(name)) {}

SegmentWriter::~SegmentWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void SegmentWriter::write(ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail_errno("writing a shared segment");
    bytes = bytes.subspan(static_cast<size_t>(n));
    size_ += static_cast<size_t>(n);
  }
}

Segment SegmentWriter::finish() {
  seal(fd_);
  return Segment::adopt(std::exchange(fd_, -1), size_);
}

}  // namespace stoker::shm
