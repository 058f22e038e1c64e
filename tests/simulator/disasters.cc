// What can befall a fit: deaths, freezes, waking up, broken links, stumbles, duplicates, a job that is started again.
#include <algorithm>

#include "world.h"

namespace stoker::simulator {

using gang::Kind;
using gang::Member;

/// A living one, or -1.
int World::any_process() {
  std::vector<int> living;
  for (size_t p = 0; p < processes_.size(); ++p) {
    if (processes_[p]->alive && processes_[p]->connected) living.push_back(static_cast<int>(p));
  }
  return living.empty() ? -1 : living[chance_.number(0, static_cast<int>(living.size()) - 1)];
}

/// Not noticed, noticed and over soon after the next generation has begun, or for long.
double World::freeze_time() {
  const double limit = options_.heartbeat_timeout;
  if (chance_.hits(0.3)) return chance_.between(0.01, limit / 2);
  return chance_.hits(0.7) ? chance_.between(limit - 0.5, limit + 5) : chance_.between(limit, 4 * limit);
}

void World::freeze(int p, double seconds) {
  if (std::exchange(processes_[p]->frozen, true)) return;
  timeline_.in(seconds, [this, p, seconds] {
    processes_[p]->awaits_since += from_seconds(seconds);  // it does not count what was no time of its own
    wake(p);
  });
}

/// Peers that reach the coordinator do not reach each other: for so long that one generation stands still, no more.
void World::cut_hosts_apart() { cut_until_ = timeline_.now() + from_seconds(chance_.between(0.01, 25)); }

/// What a process missed it does now: each thread in its order.
void World::wake(int p) {
  Process& process = *processes_[p];
  process.frozen = false;
  double after = 0;
  for (auto& what : std::exchange(process.missed, {})) in_process(p, after += 0.0001, std::move(what));
}

/// The training thread alone: in an operator that takes so long, or for good.
void World::stick(int p, double seconds) {
  Process& process = *processes_[p];
  if (process.stuck_since || process.awaits || !process.work) return;
  process.stuck_since = timeline_.now();
  in_process(p, seconds, [this, p] { unstick(p); });
}

void World::unstick(int p) {
  Process& process = *processes_[p];
  process.stuck_since.reset();
  double after = 0;
  for (auto& what : std::exchange(process.stuck_before, {})) in_thread(p, after += 0.0001, std::move(what));
  if (process.halt || process.aborted || process.broken) stop_if_waiting(p);
}

gang::Pong World::pong(int p) const {
  const Process& process = *processes_[p];
  const auto& since = process.stuck_since;
  gang::Pong pong{.step = -1, .idle = since ? seconds(timeline_.now() - *since) : 0};
  if (!process.awaits || since) return pong;
  pong.waiting = seconds(timeline_.now() - process.awaits_since);
  if (process.awaits_peers) pong.awaits = "peers";
  return pong;
}

/// A worker without the coordinator for half of heartbeatTimeout stops.
void World::workers_miss_coordinator() {
  const double limit = options_.heartbeat_timeout / 2;
  for (size_t p = 0; p < processes_.size(); ++p) {
    in_process(static_cast<int>(p), limit + 0.1, [this, p, limit] {
      const bool missed = processes_[p]->connected && timeline_.now() - processes_[p]->heard > from_seconds(limit);
      if (missed) told_abort(static_cast<int>(p));
    });
  }
}

void World::plan_disaster() {
  calm_since_ = timeline_.now() + std::chrono::seconds(50);  // longer than one lasts
  if (plan_.disasters-- > 0) timeline_.in(chance_.between(0.02, 2 * plan_.pace), [this] { disaster(); });
}

void World::disaster() {
  plan_disaster();
  const int kind = chance_.number(0, 99), p = any_process();
  if (over_ || p < 0) return;
  ++tally_.disasters;
  if (kind < 20) return die(p);
  if (kind < 40) {
    processes_[p]->trap = static_cast<Point>(chance_.number(1, static_cast<int>(Point::count) - 1));
    processes_[p]->trap_seconds = chance_.hits(0.4) ? 0 : freeze_time();
    return;
  }
  if (kind < 50) {  // two at once
    die(p);
    if (const int other = any_process(); other >= 0) die(other);
    return;
  }
  if (kind < 62) return freeze(p, freeze_time());
  if (kind < 68) return stick(p, freeze_time());
  if (kind < 74) {  // a host is gone
    const int host = processes_[p]->host;
    for (size_t other = 0; other < processes_.size(); ++other) {
      if (processes_[other]->host == host && processes_[other]->connected) die(static_cast<int>(other));
    }
    return;
  }
  if (kind < 78) {  // the driver stands still
    be_absent(chance_.between(0.5, 12));
    return workers_miss_coordinator();
  }
  if (kind < 82) {  // a link breaks
    in_coordinator(timeline_.now(), [this, p] { lost_connection(p); });
    return in_process(p, delay(), [this, p] { told_abort(p); });
  }
  if (kind < 83) {  // a step with much to do
    processes_[p]->long_work = chance_.between(10, 60);
    return;
  }
  if (kind < 85 && cut_until_ == TimePoint()) return cut_hosts_apart();
  if (kind < 87 && processes_[p]->work && cut_until_ == TimePoint()) {  // one stumble beside that of a cut is enough
    processes_[p]->broken = "a bad day";
    return stop_if_waiting(p);
  }
  const gang::Hello hello = processes_[p]->hello;
  if (hello.job != gang_.job) return;
  if (kind < 90)
    launch(hello.partition, 1, chance_.between(0.001, 2));  // speculation
  else if (kind < 95)
    launch(hello.partition, 0, chance_.between(0.001, 2));  // a resubmitted stage
  else if (kind < 98)
    straggler(p);
  else
    in_coordinator(timeline_.now(), [this] { restart(); });
}

/// An attempt comes so late that a newer one has held its place meanwhile, and is lost just then.
void World::straggler(int p) {
  const int partition = processes_[p]->hello.partition;
  const double late = chance_.between(0.1, 1.5);
  launch(partition, 0, late);
  const int newer = launch(partition, 1, 0.001);
  in_process(p, 0.02, [this, p] { die(p); });
  in_process(newer, late - chance_.between(0, 0.05), [this, newer] { die(newer); });
}

}  // namespace stoker::simulator
