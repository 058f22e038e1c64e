#include "data/store/spill_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/pieces.h"
#include "data/store/spill_cipher.h"

namespace stoker::data {
namespace {

constexpr size_t kCipherBytes = 128 << 10;  // encrypted at a time
constexpr size_t kAheadBytes = 8 << 20;     // that the kernel is told of before they are read

/// -1 where the folder cannot be written to.
int open_unnamed(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  std::string path = folder + "/stoker-spill-XXXXXX";  // not every file system has files without names
  const int named = ::mkostemp(path.data(), O_CLOEXEC);
  if (named >= 0) ::unlink(path.c_str());
  return named;
}

/// Whether the part of the file is there to be written. Where the file system cannot say, writing will.
bool allocate(int fd, uint64_t at, size_t bytes) {
  int code;
  do {
    code = ::fallocate(fd, 0, static_cast<off_t>(at), static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  } while (code == EINTR);
  errno = code;
  return code == 0 || code == EOPNOTSUPP || code == ENOSYS;
}

std::string free_space(const std::string& folder) {
  struct statvfs about {};
  if (::statvfs(folder.c_str(), &about) != 0) return folder;
  return cat(folder, " (", (about.f_bavail * about.f_frsize) >> 20, " MB free)");
}

}  // namespace

struct SpillFile::Impl {
  struct Extent {
    int fd = -1;
    uint64_t at = 0;  // in that file
  };
  struct Folder {
    std::string path;
    int fd = -1;
    uint64_t end = 0;  // of what is allocated
  };

  SpillOptions options;
  std::vector<Folder> folders;
  std::vector<Extent> extents;  // by place; those without a file are not written
  std::optional<SpillCipher> cipher;
  uint64_t allocated = 0;
  size_t turn = 0;  // of the folders

  Extent& allocated_extent(uint64_t number);
  Extent allocate_next();
  bool take(Folder& folder);
  [[noreturn]] void no_room() const;
  template <typename F>
  void each_part(uint64_t at, size_t bytes, F f) const;
  void write_plain(uint64_t at, std::span<const std::byte> bytes);
  bool read(uint64_t at, std::span<std::byte> into, int flags) const;
};

SpillFile::SpillFile(SpillOptions options) : impl_(std::make_unique<Impl>()) {
  STOKER_CHECK(!options.folders.empty() && options.extent_bytes > 0);
  impl_->options = std::move(options);
  for (const auto& path : impl_->options.folders) impl_->folders.push_back({path});
  impl_->turn = static_cast<size_t>(::getpid());  // workers begin in different folders
  if (impl_->options.encrypt) impl_->cipher.emplace();
}

SpillFile::~SpillFile() {
  for (const auto& folder : impl_->folders)
    if (folder.fd >= 0) ::close(folder.fd);
}

/// Calls f(number of the extent, place in it, place in the bytes, size).
template <typename F>
void SpillFile::Impl::each_part(uint64_t at, size_t bytes, F f) const {
  const size_t extent = options.extent_bytes;
  for (size_t done = 0; done < bytes;) {
    const uint64_t inside = (at + done) % extent;
    const size_t size = std::min<size_t>(bytes - done, extent - inside);
    f((at + done) / extent, inside, done, size);
    done += size;
  }
}

bool SpillFile::Impl::take(Folder& folder) {
  if (folder.fd < 0) {
    folder.fd = open_unnamed(folder.path);
    if (folder.fd >= 0) ::posix_fadvise(folder.fd, 0, 0, POSIX_FADV_RANDOM);  // expect() says what will be read
  }
  return folder.fd >= 0 && allocate(folder.fd, folder.end, options.extent_bytes);
}

SpillFile::Impl::Extent SpillFile::Impl::allocate_next() {
  int why = 0;
  for (size_t tried = 0; tried < folders.size(); ++tried) {
    Folder& folder = folders[turn++ % folders.size()];
    if (take(folder)) {
      const Extent taken{folder.fd, folder.end};
      folder.end += options.extent_bytes;
      allocated += options.extent_bytes;
      return taken;
    }
    why = errno;
  }
  errno = why;
  no_room();
}

/// errno says why.
void SpillFile::Impl::no_room() const {
  const int why = errno;
  std::string where;
  for (const auto& folder : folders) where += (where.empty() ? "" : ", ") + free_space(folder.path);
  errno = why;
  fail_errno(cat("rows beyond storeMemory do not fit on disk: ", allocated >> 20, " MB are there, ",
                 (options.extent_bytes + (1 << 20) - 1) >> 20, " MB more are needed at once in ", where,
                 "; give spark.local.dir more room or the fit more memory"));
}

SpillFile::Impl::Extent& SpillFile::Impl::allocated_extent(uint64_t number) {
  if (number >= extents.size()) extents.resize(number + 1);
  if (extents[number].fd < 0) extents[number] = allocate_next();
  return extents[number];
}

void SpillFile::Impl::write_plain(uint64_t at, std::span<const std::byte> bytes) {
  each_part(at, bytes.size(), [&](uint64_t number, uint64_t inside, size_t from, size_t size) {
    const Extent& extent = allocated_extent(number);
    pulse::beat();
    for (size_t done = 0; done < size; pulse::beat()) {
      const ssize_t wrote = ::pwrite(extent.fd, bytes.data() + from + done, std::min(kPieceBytes, size - done),
                                     static_cast<off_t>(extent.at + inside + done));
      if (wrote < 0 && errno != EINTR) no_room();
      done += std::max<ssize_t>(wrote, 0);
    }
  });
}

void SpillFile::reserve(uint64_t at, uint64_t bytes) {
  impl_->each_part(at, bytes, [&](uint64_t number, uint64_t, size_t, size_t) {
    impl_->allocated_extent(number);
    pulse::beat();
  });
}

void SpillFile::renew() {
  if (impl_->cipher) impl_->cipher.emplace();
}

void SpillFile::write(uint64_t at, std::span<const std::byte> bytes) {
  if (!impl_->cipher) return impl_->write_plain(at, bytes);
  std::vector<std::byte> hidden;
  for (size_t done = 0; done < bytes.size(); done += hidden.size()) {
    const auto part = bytes.subspan(done, std::min(kCipherBytes, bytes.size() - done));
    hidden.assign(part.begin(), part.end());
    impl_->cipher->apply(at + done, hidden);
    impl_->write_plain(at + done, hidden);
  }
}

/// False where `flags` (of preadv2) do not let all of it be read.
bool SpillFile::Impl::read(uint64_t at, std::span<std::byte> into, int flags) const {
  bool whole = true;
  each_part(at, into.size(), [&](uint64_t number, uint64_t inside, size_t to, size_t size) {
    const Extent& extent = extents.at(number);
    for (size_t done = 0; whole && done < size;) {
      const iovec rest{into.data() + to + done, size - done};
      const ssize_t got = ::preadv2(extent.fd, &rest, 1, static_cast<off_t>(extent.at + inside + done), flags);
      if (got == 0) fail_world("cannot read rows back from disk: the file is shorter than what was written");
      if (got < 0 && flags != 0 && errno != EINTR) whole = false;
      if (got < 0 && flags == 0 && errno != EINTR) fail_errno("cannot read rows back from disk");
      done += std::max<ssize_t>(got, 0);
    }
  });
  if (whole && cipher) cipher->apply(at, into);
  return whole;
}

void SpillFile::read(uint64_t at, std::span<std::byte> into) const { impl_->read(at, into, 0); }

bool SpillFile::read_cached(uint64_t at, std::span<std::byte> into) const { return impl_->read(at, into, RWF_NOWAIT); }

void SpillFile::read_on(uint64_t at, std::span<std::byte> into) const {
  if (read_cached(at, into)) return;
  expect(at, into.size() + kAheadBytes);
  read(at, into);
}

void SpillFile::expect(uint64_t at, size_t bytes) const {
  impl_->each_part(at, bytes, [&](uint64_t number, uint64_t inside, size_t, size_t size) {
    if (number >= impl_->extents.size() || impl_->extents[number].fd < 0) return;
    const Impl::Extent& extent = impl_->extents[number];
    ::posix_fadvise(extent.fd, static_cast<off_t>(extent.at + inside), static_cast<off_t>(size), POSIX_FADV_WILLNEED);
  });
}

uint64_t SpillFile::bytes() const { return impl_->allocated; }

}  // namespace stoker::data
