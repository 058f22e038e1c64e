#include "base/fault.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "base/error.h"

namespace stoker::fault {
namespace {

struct Fault : testing::Test {
  void SetUp() override {
    try {
      schedule("any@1=die");
    } catch (const Error& error) {
      GTEST_SKIP() << error.what();
    }
    schedule("");
  }
  void TearDown() override { schedule(""); }
};

Bytes bytes_of(int n) { return Bytes(static_cast<size_t>(n), std::byte{1}); }

TEST_F(Fault, NothingHappensWithoutASchedule) {
  EXPECT_FALSE(armed);
  point("forward", 3);
  Bytes frame = bytes_of(4);
  fault::frame("link", frame);
  EXPECT_EQ(frame, bytes_of(4));
}

TEST_F(Fault, DiesAtTheStepAndNotBefore) {
  schedule("forward@3=die");
  point("forward", 2);
  point("slice", 3);
  EXPECT_EXIT(point("forward", 3), testing::KilledBySignal(SIGKILL), "");
}

TEST_F(Fault, AProcessThatComesLaterMissesNoStep) {
  schedule("forward@3=die");
  EXPECT_EXIT(point("forward", 9), testing::KilledBySignal(SIGKILL), "");
}

TEST_F(Fault, CountsWhereThereAreNoSteps) {
  schedule("ingest@2=die");
  point("ingest");
  EXPECT_EXIT(point("ingest"), testing::KilledBySignal(SIGKILL), "");
}

TEST_F(Fault, HangsTheThreadAndNotTheProcess) {
  schedule("forward@1=hang");
  std::atomic<bool> came_back = false;
  std::thread hung([&] {
    point("forward", 1);
    came_back = true;
  });
  hung.detach();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  point("forward", 2);
  EXPECT_FALSE(came_back);
}

TEST_F(Fault, FreezesUntilItIsWoken) {
  const pid_t child = fork();
  if (child == 0) {
    schedule("forward@1=freeze");
    point("forward", 1);
    _exit(7);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, WUNTRACED), child);
  EXPECT_TRUE(WIFSTOPPED(status));
  kill(child, SIGCONT);
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST_F(Fault, IsSlowOnce) {
  schedule("forward@1=slow:30");
  Stopwatch watch;
  point("forward", 1);
  EXPECT_GE(watch.restart(), 0.03);
  for (int i = 0; i < 1000; ++i) point("forward", 1);
  EXPECT_LT(watch.restart(), 0.03);
}

TEST_F(Fault, FramesAreLostOrSpoilt) {
  schedule("link@1=corrupt;link@3=drop");
  Bytes frame = bytes_of(2);
  fault::frame("link", frame);
  EXPECT_EQ(frame[0], std::byte{1});
  EXPECT_NE(frame[1], std::byte{1});
  frame = bytes_of(2);
  fault::frame("link", frame);
  EXPECT_EQ(frame, bytes_of(2));
  fault::frame("link", frame);
  EXPECT_TRUE(frame.empty());
}

TEST_F(Fault, SkipsWhatItIsToldToEveryTime) {
  schedule("recovery@1=skip");
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(skips("recovery"));
  EXPECT_FALSE(skips("forward"));
  point("recovery");
  schedule("");
  EXPECT_FALSE(skips("recovery"));
}

TEST_F(Fault, SaysWhatHasActed) {
  const std::string path = testing::TempDir() + "stoker_fault_log";
  unlink(path.c_str());
  setenv("STOKER_FAULTS_LOG", path.c_str(), 1);
  schedule("slice@4=slow:0");
  point("slice", 6);
  unsetenv("STOKER_FAULTS_LOG");
  std::string line;
  std::getline(std::ifstream(path) >> std::ws, line);
  EXPECT_EQ(line, cat(getpid(), " slice 6 slow:0"));
}

TEST_F(Fault, RefusesWhatIsNoSchedule) {
  for (const char* text : {"forward", "forward=die", "forward@x=die", "forward@1=explode", "forward@1=slow",
                           "forward@1=busy", "forward@1=die:5", "a=b@1"})
    EXPECT_THROW(schedule(text), Error) << text;
}

}  // namespace
}  // namespace stoker::fault
