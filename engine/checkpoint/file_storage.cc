#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/clock.h"
#include "base/fault.h"
#include "base/pieces.h"
#include "checkpoint/storage.h"

namespace stoker::checkpoint {

namespace {

namespace fs = std::filesystem;

constexpr size_t kWrite = 8 << 20;  // bytes of one call

/// An open file or folder; every failure names it.
class File {
 public:
  File(const fs::path& path, int flags) : path_(path), fd_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (fd_ < 0) fail("cannot open ");
  }
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;

  void write(ByteView bytes) {
    while (!bytes.empty()) bytes = bytes.subspan(write_some(bytes));
  }
  size_t read(std::span<std::byte> into) {
    for (;;) {
      const ssize_t got = ::read(fd_, into.data(), std::min(into.size(), kPieceBytes));
      if (got >= 0) return static_cast<size_t>(got);
      if (errno != EINTR) fail("cannot read ");
    }
  }
  size_t size() {
    struct stat about {};
    if (::fstat(fd_, &about) != 0) fail("cannot read ");
    return static_cast<size_t>(about.st_size);
  }
  void sync() {
    if (::fsync(fd_) != 0) fail("cannot write ");
  }
  /// Some file systems only tell here that there was no room.
  void close() {
    if (::close(std::exchange(fd_, -1)) != 0) fail("cannot write ");
  }

 private:
  size_t write_some(ByteView bytes) {
    const ssize_t written = ::write(fd_, bytes.data(), std::min(bytes.size(), kWrite));
    if (written >= 0) return static_cast<size_t>(written);
    if (errno != EINTR) fail("cannot write ");
    return 0;
  }
  [[noreturn]] void fail(const char* what) const { fail_errno(what + path_.string()); }

  fs::path path_;
  int fd_;
};

void sync_folder(const fs::path& folder) { File(folder, O_RDONLY | O_DIRECTORY).sync(); }

void make_folders(const fs::path& folder) {
  if (folder.empty() || fs::is_directory(folder)) return;
  make_folders(folder.parent_path());
  if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST) fail_errno("cannot make the folder " + folder.string());
  sync_folder(folder.parent_path());
}

void write_whole(const fs::path& path, std::span<const ByteView> pieces) {
  File file(path, O_WRONLY | O_CREAT | O_TRUNC);
  for (const auto& piece : pieces) {
    file.write(piece);
    fault::point("checkpoint-write");
  }
  fault::point("checkpoint-sync");
  file.sync();
  file.close();
}

/// No other writer has the same, not even one of a process that was thought dead.
fs::path temporary(const fs::path& path) {
  return path.string() + cat(".tmp-", ::getpid(), "-", Clock::now().time_since_epoch().count());
}

class FileStorage final : public Storage {
 public:
  explicit FileStorage(fs::path folder) : folder_(std::move(folder)) { STOKER_CHECK(folder_.is_absolute()); }

  void put(const std::string& name, std::span<const ByteView> pieces) override {
    const fs::path path = folder_ / name;
    make_folders(path.parent_path());
    const fs::path written = temporary(path);
    try {
      write_whole(written, pieces);
      fault::point("checkpoint-rename");
      if (::rename(written.c_str(), path.c_str()) != 0) fail_errno("cannot write " + path.string());
    } catch (const Error&) {
      ::unlink(written.c_str());  // its room is what others may lack
      throw;
    }
    fault::point("checkpoint-renamed");
    sync_folder(path.parent_path());
  }

  Bytes get(const std::string& name) override {
    File file(folder_ / name, O_RDONLY);
    Bytes bytes;
    resize_in_pieces(bytes, file.size());
    size_t have = 0;
    while (have < bytes.size()) {
      const size_t got = file.read(std::span(bytes).subspan(have));
      pulse::beat();
      if (got == 0) break;
      have += got;
    }
    bytes.resize(have);
    return bytes;
  }

 private:
  fs::path folder_;
};

}  // namespace

std::unique_ptr<Storage> make_file_storage(const std::string& folder) { return std::make_unique<FileStorage>(folder); }

}  // namespace stoker::checkpoint
