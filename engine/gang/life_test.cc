// Whole lives of fits, without and with a failure: workers as threads, real sockets.
#include <algorithm>

#include "gang/test_fit.h"

namespace stoker::gang {
namespace {

using Verdict = Admission::Verdict;

Bytes weights_of(size_t size) {
  Bytes weights(size);
  for (size_t i = 0; i < size; ++i) weights[i] = static_cast<std::byte>(i * 7 + i / 251);
  return weights;
}

/// One worker's whole life, as the train loop lives it.
void live(const Fit& fit, int partition, const Bytes& weights) {
  WorkerLink link(Line(fit.link()), fit.hello(partition, 10 + partition));
  ASSERT_EQ(link.admission().verdict, Verdict::go);
  link.ingesting(3);
  link.ingested({{partition, 5, {1, 2}}});
  const Start start = link.start();
  EXPECT_EQ(start.roster.rank, partition);
  EXPECT_EQ(start.roster.secret, fit.options.secret);
  EXPECT_EQ(start.roster.members.size(), static_cast<size_t>(fit.options.workers));
  Bytes initial, constants;
  link.fetch(start, Wanted::initial, initial);
  link.fetch(start, Wanted::constants, constants);
  EXPECT_EQ(initial, fit.options.initial);
  EXPECT_EQ(constants, fit.options.constants);
  link.metrics(R"({"step": 4, "loss": 0.5})");
  if (partition == 0) link.result(weights, "{}");
  link.await_home();
  link.finished();
  EXPECT_FALSE(link.aborted());
}

void run_all(const Fit& fit, const Bytes& weights) {
  std::vector<std::thread> workers;
  for (int p = 0; p < fit.options.workers; ++p) workers.emplace_back([&, p] { live(fit, p, weights); });
  for (auto& worker : workers) worker.join();
}

}  // namespace

TEST(Life, InitialWeightsReachEveryWorkerWhateverTheirSize) {
  for (const size_t size : {size_t{0}, size_t{1}, kChunk, kChunk + 1, 5 * kChunk + 3}) {
    Fit fit(2, [&](CoordinatorOptions& options) {
      options.initial = weights_of(size);
      options.constants = weights_of(size / 2);
    });
    run_all(fit, {});
    EXPECT_EQ(fit.failure(), "none") << size;
  }
}

TEST(Life, WhatHasComeOfTheWeightsIsNotFetchedAgain) {
  Fit fit(1, [](CoordinatorOptions& options) { options.constants = weights_of(7 * kChunk + 3); });
  WorkerLink link(Line(fit.link()), fit.hello(0, 10));
  link.ingested({{0, 5, {1, 2}}});
  const Start start = link.start();
  const Bytes& whole = fit.options.constants;
  for (const size_t came : {size_t{1}, kChunk, 5 * kChunk + 7, whole.size()}) {
    Bytes so_far(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(came));
    link.fetch(start, Wanted::constants, so_far);
    EXPECT_EQ(so_far, whole) << came;
  }
  Bytes other(kChunk, std::byte{1});
  EXPECT_NE(failure_of([&] { link.fetch(start, Wanted::constants, other); }).find("arrived damaged"),
            std::string::npos);
  link.fetch(start, Wanted::constants, other);
  EXPECT_EQ(other, whole);
}

TEST(Life, ResultComesHomeWhateverTheSizeOfGangAndWeights) {
  for (const int workers : {1, 2, 5}) {
    for (const size_t size : {size_t{0}, size_t{1}, kChunk, kChunk + 1, 9 * kChunk}) {
      Fit fit(workers);
      const Bytes weights = weights_of(size);
      run_all(fit, weights);
      ASSERT_EQ(fit.failure(), "none");
      EXPECT_EQ(fit.coordinator->take_result(), (std::pair{weights, std::string("{}")}));
    }
  }
}

TEST(Life, EventsTellTheStory) {
  Fit fit(2);
  run_all(fit, weights_of(10));
  ASSERT_TRUE(fit.wait_done());
  EXPECT_NE(fit.told("admitted").find(R"("rank":1)"), std::string::npos);
  EXPECT_NE(fit.told("ingesting").find(R"("rows":3)"), std::string::npos);
  EXPECT_NE(fit.told("ingested").find(R"("rows":5)"), std::string::npos);
  EXPECT_NE(fit.told("started").find(R"("rows":10)"), std::string::npos);
  EXPECT_NE(fit.told("metrics").find(R"({"loss":0.5,"rank":0,"step":4})"), std::string::npos);
  EXPECT_NE(fit.told("result").find(R"("bytes":10)"), std::string::npos);
  EXPECT_NE(fit.told("finished").find(R"("step":4)"), std::string::npos);
  EXPECT_EQ(fit.told("failed"), "");
}

TEST(Life, RestartedTaskAfterTheEndIsSentHome) {
  Fit fit(2);
  run_all(fit, {});
  ASSERT_TRUE(fit.wait_done());
  EXPECT_EQ(fit.worker(fit.hello(1, 99, 1))->admission().verdict, Verdict::finished);
}

TEST(Life, DuplicateGoesHomeWhereItsSlotIsWantedAndTheLivingOneGoesOn) {
  Fit fit(1);
  const auto first = fit.worker(fit.hello(0, 10));
  ASSERT_EQ(first->admission().verdict, Verdict::go);
  const auto second = fit.worker(fit.hello(0, 11));
  ASSERT_TRUE(fit.hears("log", "parked"));
  fit.coordinator->keep_spares(false);
  EXPECT_EQ(second->admission().verdict, Verdict::duplicate);
  second->finished();
  first->ingested({{0, 1, {}}});
  first->start();
  first->result({}, "{}");
  EXPECT_EQ(fit.failure(), "none");
}

TEST(Life, SpeculativeAttemptIsAnsweredAtTheEndOnly) {
  Fit fit(1);
  const auto links = fit.started();
  const auto speculative = fit.worker(fit.hello(0, 99, 1));
  ASSERT_TRUE(soon([&] { return fit.told("log").find("parked") != std::string::npos; }));
  std::atomic<bool> answered = false;
  std::thread waiting([&] {
    EXPECT_EQ(speculative->admission().verdict, Verdict::finished);
    answered = true;
  });
  EXPECT_FALSE(soon([&] { return answered.load(); }, 0.1));
  links[0]->result({}, "{}");
  waiting.join();
}

TEST(Life, AnotherTorchEndsTheFit) {
  Fit fit(2);
  Hello other = fit.hello(1);
  other.torch_version = "2.12.0";
  const auto good = fit.worker(fit.hello(0));
  ASSERT_EQ(good->admission().verdict, Verdict::go);
  EXPECT_EQ(fit.worker(other)->admission().verdict, Verdict::refused);
  EXPECT_NE(fit.failure().find("user: worker 1 (host 127.0.0.1, pid 101) has torch 2.12.0"), std::string::npos);
  EXPECT_TRUE(soon([&] { return good->aborted(); }));
}

TEST(Life, TooFewSlotsEndTheFitAtTheStartTimeout) {
  Fit fit(4, [](auto& options) {
    options.start_timeout = 0.2;
    options.slots = 2;
  });
  const auto a = fit.worker(fit.hello(0)), b = fit.worker(fit.hello(3));
  EXPECT_EQ(fit.failure(),
            "user: 2 of 4 workers started within 0.2 s; the session has 2 slots and the fit needs 4 free ones at the "
            "same time: lower numWorkers or raise startTimeout");
  EXPECT_EQ(failure_of([&] { a->start(); }).substr(0, 30), "aborted: 2 of 4 workers starte");
}

TEST(Life, NoRowsIsToldToAll) {
  Fit fit(2);
  const auto a = fit.worker(fit.hello(0)), b = fit.worker(fit.hello(1));
  a->ingested({{0, 0, {}}});
  b->ingested({{1, 0, {}}});
  EXPECT_EQ(failure_of([&] { a->start(); }), "aborted: the DataFrame has no rows");
  EXPECT_EQ(fit.failure(), "user: the DataFrame has no rows");
}

TEST(Abort, DriverStopsAllAndIsTheCause) {
  Fit fit(2);
  const auto links = fit.started();
  std::atomic<int> calls = 0;
  links[0]->on_stop(fit.starts[0], [&](const std::string& reason) {
    EXPECT_EQ(reason, "the job was cancelled");
    ++calls;
  });
  fit.coordinator->abort("the job was cancelled");
  EXPECT_EQ(fit.failure(), "aborted: the job was cancelled");
  ASSERT_TRUE(soon([&] { return links[1]->aborted() && calls == 1; }));
  links[0]->on_stop(fit.starts[0], [&](const std::string&) { ++calls; });  // too late for the news, told at once
  EXPECT_TRUE(soon([&] { return calls == 2; }));
  EXPECT_EQ(failure_of([&] { links[1]->result({}, ""); }), "aborted: the job was cancelled");
  EXPECT_EQ(fit.worker(fit.hello(1, 99, 1))->admission().verdict, Verdict::finished);
}

TEST(Abort, ClosedCoordinatorStopsAll) {
  Fit fit(2);
  const auto links = fit.started();
  fit.coordinator.reset();
  EXPECT_TRUE(soon([&] { return links[0]->aborted() && links[1]->aborted(); }));
  EXPECT_EQ(links[0]->abort_reason(), "the coordinator was closed");
}

TEST(Abort, CloseWakesThoseWhoWait) {
  Fit fit(1);
  const auto link = fit.worker(fit.hello(0));
  std::thread waiting([&] { EXPECT_EQ(failure_of([&] { link->start(); }), "aborted: the link was closed"); });
  std::thread polling([&] {
    const Stopwatch watch;
    while (!fit.coordinator->done()) fit.coordinator->poll(60);
    EXPECT_LT(watch.elapsed(), 30);
  });
  link->close();
  fit.coordinator->close();
  waiting.join();
  polling.join();
  EXPECT_TRUE(fit.coordinator->done());
}

TEST(Link, WrongSecretSaysSo) {
  const Fit fit(1);
  LinkOptions link = fit.link();
  link.secret[0] = std::byte{0};
  EXPECT_EQ(failure_of([&] { Line{link}; }), cat("world: reach the coordinator at 127.0.0.1 port ", link.port,
                                                 ": handshake: the other side does not know this fit's secret"));
}

TEST(Link, NobodyThereSaysWhere) {
  LinkOptions link{"127.0.0.1", 1, Bytes(32), 0.5};
  EXPECT_NE(failure_of([&] { Line{link}; }).find("reach the coordinator at 127.0.0.1 port 1: connect to"),
            std::string::npos);
}

TEST(Link, TriesAgainUntilItsTimeIsOver) {
  const int port = net::local_port(net::listen_tcp("127.0.0.1").get());
  std::jthread late([port] {
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    const Fit fit(1, [port](CoordinatorOptions& options) { options.ports = {port, port}; });
    std::this_thread::sleep_for(std::chrono::milliseconds(1500));
  });
  const Line line({"127.0.0.1", port, Bytes(32, std::byte{7}), 5});
  EXPECT_EQ(line.address(), "127.0.0.1");
}

TEST(Link, ADriverThatHasOnlyTheOtherFamilyIsReached) {
  try {
    net::listen_tcp("::1");
  } catch (const Error&) {
    GTEST_SKIP() << "no IPv6 here";
  }
  Fit fit(1, [](CoordinatorOptions& options) { options.bind_host = "::1"; });
  const Line line({"::1", fit.coordinator->port(), fit.options.secret, 5});
  EXPECT_EQ(line.address(), "::1");
}

TEST(Link, MetricsThatAreNoObjectAreTheCallersFault) {
  Fit fit(1);
  const auto links = fit.started();
  EXPECT_EQ(failure_of([&] { links[0]->metrics("[1]"); }), "bug: metrics must be a JSON object: [1]");
  EXPECT_EQ(failure_of([&] { links[0]->metrics("{"); }), "bug: metrics must be a JSON object: {");
}

}  // namespace stoker::gang
