#include "data/store/spill_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "base/error.h"
#include "base/pieces.h"
#include "base/test_beats.h"

namespace stoker::data {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

class SpillFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"a", "b"}) {
      folders_.push_back(fs::path(::testing::TempDir()) / ("spill-" + std::to_string(::getpid()) + name));
      fs::create_directory(folders_.back());
    }
  }
  void TearDown() override {
    for (const auto& folder : folders_) fs::remove_all(folder);
  }
  SpillOptions options(bool encrypt = false, size_t extent = 1000) const { return {folders_, encrypt, extent}; }
  std::vector<std::string> folders_;
};

Bytes noise(size_t size, unsigned seed = 1) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

Bytes read(const SpillFile& file, uint64_t at, size_t size) {
  Bytes bytes(size);
  file.read(at, bytes);
  return bytes;
}

/// The files without names that this process has open in a folder, as the kernel shows them.
std::vector<std::string> open_files(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (const auto to = fs::read_symlink(entry, gone); !gone && to.string().starts_with(folder))
      found.push_back(entry.path());
  }
  return found;
}

TEST_F(SpillFileTest, EveryPartIsReadAsItWasWritten) {
  for (const bool encrypt : {false, true}) {
    SpillFile file(options(encrypt));
    const Bytes bytes = noise(5000);
    file.write(2500, std::span(bytes).subspan(2500));  // what is before follows, as rows leave memory
    file.write(0, std::span(bytes).first(2500));
    for (const uint64_t at : {0, 1, 15, 16, 17, 999, 1000, 2499, 4999})
      for (const size_t size : {0, 1, 16, 33, 1001}) {
        if (at + size > bytes.size()) continue;
        EXPECT_EQ(read(file, at, size), Bytes(bytes.begin() + at, bytes.begin() + at + size)) << at << " " << size;
      }
    EXPECT_EQ(file.bytes(), 5000u);
  }
}

TEST_F(SpillFileTest, NothingHasANameAndAllFoldersAreUsed) {
  SpillFile file(options());
  file.write(0, noise(4000));
  for (const auto& folder : folders_) {
    EXPECT_TRUE(fs::is_empty(folder));
    ASSERT_EQ(open_files(folder).size(), 1u) << folder;
    EXPECT_EQ(fs::file_size(open_files(folder)[0]), 2000u);
  }
}

TEST_F(SpillFileTest, EncryptedFilesDoNotHoldThePlainBytes) {
  for (const bool encrypt : {false, true}) {
    SpillFile file(options(encrypt, 1 << 20));
    const std::string secret = "the name of a patient, in plain letters";
    for (uint64_t at = 0; at < 200'000; at += secret.size()) file.write(at, std::as_bytes(std::span(secret)));
    std::string stored;
    for (const auto& folder : folders_)
      for (const auto& path : open_files(folder)) {
        std::ifstream in(path, std::ios::binary);
        stored.append(std::istreambuf_iterator<char>(in), {});
      }
    ASSERT_GE(stored.size(), 200'000u);
    EXPECT_EQ(stored.find("patient") == std::string::npos, encrypt);
    stored.resize(200'000);
    std::set<std::string> blocks;  // of counter mode; equal plain ones look different
    for (size_t at = 0; at + 16 <= stored.size(); at += 16) blocks.insert(stored.substr(at, 16));
    EXPECT_EQ(blocks.size() == stored.size() / 16, encrypt);
  }
}

TEST_F(SpillFileTest, TwoFilesHaveTwoKeys) {
  SpillFile one(options(true, 1 << 20)), other(options(true, 1 << 20));
  const Bytes zeros(64);
  one.write(0, zeros);
  other.write(0, zeros);
  std::set<std::string> seen;
  for (const auto& folder : folders_)
    for (const auto& path : open_files(folder)) {
      std::ifstream in(path, std::ios::binary);
      std::string begin(64, '\0');
      in.read(begin.data(), 64);
      seen.insert(begin);
    }
  EXPECT_EQ(seen.size(), 2u);
}

/// The text of the world error that writing ends with.
std::string complaint(SpillFile& file, uint64_t at, size_t size) {
  try {
    file.write(at, Bytes(size));
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::world);
    return error.what();
  }
  return "no error";
}

TEST_F(SpillFileTest, FullDisksSayWhatIsMissingAndWhere) {
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before;
  ::getrlimit(RLIMIT_FSIZE, &before);
  const rlimit small{3 << 20, before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  SpillFile file(options(false, 2 << 20));
  EXPECT_EQ(complaint(file, 0, 4 << 20), "no error");
  const std::string text = complaint(file, 4 << 20, 1);
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_TRUE(
      text.starts_with("rows beyond storeMemory do not fit on disk: 4 MB are there, 2 MB more are needed at "
                       "once in " +
                       folders_[0] + " ("))
      << text;
  EXPECT_NE(text.find(" MB free), " + folders_[1]), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("; give spark.local.dir more room or the fit more memory: File too large (errno 27)"))
      << text;
  EXPECT_EQ(read(file, 4'000'000, 1), Bytes(1));  // what was written stays
}

TEST_F(SpillFileTest, FoldersThatCannotBeUsedArePassedOver) {
  auto some = options();
  some.folders = {folders_[0], "/nowhere/at/all"};
  SpillFile file(some);
  file.write(0, noise(3000));
  EXPECT_EQ(read(file, 0, 3000), noise(3000));
  some.folders = {"/nowhere/at/all"};
  SpillFile none(some);
  EXPECT_NE(complaint(none, 0, 1).find("in /nowhere/at/all; "), std::string::npos);
}

TEST_F(SpillFileTest, LongWriteBeats) {
  const Bytes bytes(5 * kPieceBytes);
  for (const bool encrypt : {false, true}) {
    SpillFile file(options(encrypt, 2 * kPieceBytes));
    EXPECT_GE(beats_of([&] { file.write(0, bytes); }), 5u);
    EXPECT_GE(beats_of([&] { file.reserve(0, 20 * kPieceBytes); }), 7u);
  }
}

}  // namespace
}  // namespace stoker::data
