#pragma once
// Tests' words for a fit: a coordinator, and workers of it as threads with real sockets. One thread.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "base/clock.h"
#include "gang/coordinator.h"
#include "gang/worker_link.h"

namespace stoker::gang {

struct Fit {
  explicit Fit(int workers, std::function<void(CoordinatorOptions&)> change = {}) {
    options.secret = Bytes(32, std::byte{7});
    options.workers = options.shards = workers;
    options.heartbeat = 0.05;
    options.torch_version = "2.13.0";
    if (change) change(options);
    coordinator = std::make_unique<Coordinator>(options);
  }

  Hello hello(int partition, uint64_t attempt = 0, int attempt_number = 0) const {
    return {.partition = partition,
            .attempt = attempt,
            .attempt_number = attempt_number,
            .host = "127.0.0.1",
            .pid = 100 + partition,
            .peer_port = 1000 + partition,
            .torch_version = "2.13.0",
            .isa = 1};
  }
  LinkOptions link() const { return {"127.0.0.1", coordinator->port(), options.secret, 10}; }
  std::unique_ptr<WorkerLink> worker(const Hello& hello) const {
    return std::make_unique<WorkerLink>(Line(link()), hello);
  }

  /// Workers of all partitions that have told one row a shard and have started.
  std::vector<std::unique_ptr<WorkerLink>> started() {
    std::vector<std::unique_ptr<WorkerLink>> links;
    for (int p = 0; p < options.workers; ++p) links.push_back(worker(hello(p, 10 + p)));
    for (int p = 0; p < options.workers; ++p) links[p]->ingested({{p, 1, {}}});
    for (const auto& link : links) starts.push_back(link->start());
    return links;
  }

  bool wait_done(double within = 10) {
    const Stopwatch watch;
    while (!coordinator->done() && watch.elapsed() < within) keep(coordinator->poll(0.05));
    return coordinator->done();
  }
  /// "kind: text" of the failure that ended the fit; "none", or "still running".
  std::string failure(double within = 10) {
    if (!wait_done(within)) return "still running";
    const auto error = coordinator->failure();
    return error ? cat(name(error->kind()), ": ", error->what()) : "none";
  }
  /// Events of this kind so far, one JSON text a line.
  std::string told(const std::string& kind) {
    keep(coordinator->poll(0));
    std::string all;
    for (const Event& event : events) {
      if (event.kind == kind) all += event.json + "\n";
    }
    return all;
  }
  /// "kind: text" of the first loss of this rank, once it is lost; "none" after ten seconds without one.
  std::string loss(int rank) {
    for (const Stopwatch watch; watch.elapsed() < 10; keep(coordinator->poll(0.05))) {
      for (const Event& event : events) {
        const auto json = nlohmann::json::parse(event.json);
        if (event.kind == "failed" && json["rank"] == rank)
          return cat(json["kind"].get<std::string>(), ": ", json["text"].get<std::string>());
      }
    }
    return "none";
  }
  /// Whether an event of this kind comes within the time whose JSON has this text.
  bool hears(const std::string& kind, const std::string& text, double within = 10) {
    for (const Stopwatch watch; watch.elapsed() < within; keep(coordinator->poll(0.05))) {
      if (told(kind).find(text) != std::string::npos) return true;
    }
    return false;
  }
  void keep(std::vector<Event> more) { events.insert(events.end(), more.begin(), more.end()); }

  CoordinatorOptions options;
  std::unique_ptr<Coordinator> coordinator;
  std::vector<Start> starts;  // of started(), by rank
  std::vector<Event> events;
};

/// Whether `holds` within the time; looks every millisecond.
template <typename Holds>
bool soon(Holds holds, double within = 10) {
  const Stopwatch watch;
  while (!holds()) {
    if (watch.elapsed() > within) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

template <typename Body>
std::string failure_of(Body body) {
  try {
    body();
  } catch (const Error& error) {
    return cat(name(error.kind()), ": ", error.what());
  }
  return "none";
}

}  // namespace stoker::gang
