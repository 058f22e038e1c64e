#include "checkpoint/storage.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <functional>

namespace stoker::checkpoint {
namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() : path(fs::temp_directory_path() / cat("stoker-storage-", ::getpid())) { fs::remove_all(path); }
  ~Folder() { fs::remove_all(path); }
  size_t files() const {
    size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(path)) count += entry.is_regular_file();
    return count;
  }
  fs::path path;
};

/// As on a disk without room: files of this process cannot grow beyond `bytes`.
struct NoRoom {
  explicit NoRoom(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before);
    const rlimit small{bytes, before.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &small);
    old = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~NoRoom() {
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, old);
  }
  rlimit before;
  void (*old)(int);
};

void put(Storage& storage, const std::string& name, const std::string& text) {
  const ByteView pieces[] = {as_bytes(text).first(text.size() / 2), as_bytes(text).subspan(text.size() / 2)};
  storage.put(name, pieces);
}

std::string complaint(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::world);
    return error.what();
  }
  return "none";
}

}  // namespace

TEST(FileStorage, WhatWasPutIsThereUnderItsNameAlone) {
  const Folder folder;
  const auto storage = make_file_storage(folder.path / "not" / "there yet");
  put(*storage, "step-7/part-0-of-1", "some bytes");
  EXPECT_EQ(to_string(storage->get("step-7/part-0-of-1")), "some bytes");
  EXPECT_EQ(folder.files(), 1u);
}

TEST(FileStorage, TheNewReplacesTheOld) {
  const Folder folder;
  const auto storage = make_file_storage(folder.path);
  put(*storage, "a", "a long one, to be sure");
  put(*storage, "a", "short");
  put(*storage, "empty", "");
  EXPECT_EQ(to_string(storage->get("a")), "short");
  EXPECT_EQ(storage->get("empty").size(), 0u);
}

TEST(FileStorage, WithoutRoomTheOldStaysAndNothingElseDoes) {
  const Folder folder;
  const auto storage = make_file_storage(folder.path);
  put(*storage, "a", "old");
  {
    const NoRoom no_room(1000);
    const auto text = complaint([&] { put(*storage, "a", std::string(5000, 'x')); });
    EXPECT_NE(text.find("cannot write " + folder.path.string()), std::string::npos) << text;
    EXPECT_NE(text.find("File too large"), std::string::npos) << text;
  }
  EXPECT_EQ(to_string(storage->get("a")), "old");
  EXPECT_EQ(folder.files(), 1u);
}

TEST(FileStorage, WhereNoFolderCanBeItSaysWhich) {
  const Folder folder;
  const auto storage = make_file_storage(folder.path);
  put(*storage, "file", "x");
  const auto text = complaint([&] { put(*storage, "file/below/part", "y"); });
  EXPECT_NE(text.find((folder.path / "file").string()), std::string::npos) << text;
  EXPECT_NE(complaint([&] { storage->get("nothing"); }).find("No such file"), std::string::npos);
}

}  // namespace stoker::checkpoint
