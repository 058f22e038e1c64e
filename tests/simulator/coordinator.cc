// The coordinator's shell: gang/coordinator.cc without sockets. And Spark, which starts tasks.
#include <algorithm>

#include "world.h"

namespace stoker::simulator {

using gang::Kind;
using gang::Member;
using Verdict = gang::Admission::Verdict;

namespace {

bool stands_still(const gang::Lost& lost) { return lost.how == gang::Loss::silent || lost.how == gang::Loss::stuck; }

}  // namespace

World::World(const Plan& plan, Chance& chance, Timeline& timeline, Tally& tally)
    : plan_(plan),
      chance_(chance),
      timeline_(timeline),
      tally_(tally),
      course_{plan.scheme, plan.shards, plan.window, plan.bound},
      truth_(course_) {
  options_.workers = plan.workers;
  options_.most_workers = plan.workers + plan.late;
  options_.shards = plan.shards;
  options_.start_timeout = options_.worker_timeout = 0;
  options_.rescue_after = 3;
  last_tick_ = next_ping_ = timeline_.now();
}

void World::run() {
  for (int p = 0; p < plan_.workers; ++p) launch(p, 0, chance_.between(0.01, 0.3));
  in_coordinator(timeline_.now(), [this] { tick(); });
  plan_disaster();
  while (!over_) {
    require(timeline_.step(), "deadlock: nothing is left to happen");
    require(timeline_.now() - calm_since_ < std::chrono::seconds(400), "deadlock: no result ", 400,
            " s after the last disaster");
  }
}

/// While the coordinator stands still its messages wait, in their order.
void World::in_coordinator(TimePoint when, std::function<void()> what) {
  timeline_.at(when, [this, what = std::move(what)]() mutable {
    if (over_) return;
    if (timeline_.now() < absent_until_ || !missed_.empty()) return missed_.push_back(std::move(what));
    what();
  });
}

void World::be_absent(double seconds) {
  absent_until_ = std::max(absent_until_, timeline_.now() + from_seconds(seconds));
  timeline_.at(absent_until_, [this] {
    if (timeline_.now() < absent_until_) return;
    for (auto& what : std::exchange(missed_, {}))
      if (!over_) what();
  });
}

void World::tick() {
  const TimePoint now = timeline_.now();
  const Duration gap = now - last_tick_;
  last_tick_ = now;
  if (gap >= std::chrono::seconds(1)) gang::on_own_absence(gang_, gap);
  for (const gang::Missed& missed : gang::silent(now, gang_, options_)) {
    lose(gang_.members.at(missed.partition), {.how = missed.how, .cause = missed.cause, .when = now});
  }
  if (now >= next_ping_) {
    next_ping_ = now + from_seconds(options_.heartbeat);
    for (const auto& [p, parked] : sessions_) {
      if (!member_of(gang_, processes_[p]->hello)) continue;
      to_worker(p, [this, p = p] {
        const uint64_t generation = processes_[p]->work ? processes_[p]->work->number : 0;
        to_coordinator(p, Kind::pong, generation, [this, pong = pong(p), generation](Member& member) {
          gang::on_pong(gang_, member, pong, generation);
        });
      });
    }
  }
  act();
  in_coordinator(now + std::chrono::milliseconds(100), [this] { tick(); });
}

void World::to_coordinator(int p, Kind kind, uint64_t generation, std::function<void(Member&)> take) {
  Process& process = *processes_[p];
  process.up_until = std::max(process.up_until, timeline_.now() + from_seconds(delay())) + Duration(1);
  in_coordinator(process.up_until, [this, p, kind, generation, take = std::move(take)] {
    if (!sessions_.contains(p)) return;
    try {
      const bool late = gang::is_void(kind, generation, gang_);
      Member* member = member_of(gang_, processes_[p]->hello);
      if (!member && kind == Kind::pong) return;
      if (!member) return hang_up(p, true);
      member->last_heard = timeline_.now();
      if (!late) take(*member);
    } catch (const Error& error) {
      throw Violation(cat("an honest worker was refused: ", error.what()));
    }
    act();
  });
}

void World::to_worker(int p, std::function<void()> take) {
  Process& process = *processes_[p];
  if (!sessions_.contains(p)) return;
  process.down_until = std::max(process.down_until, timeline_.now() + from_seconds(delay())) + Duration(1);
  timeline_.at(process.down_until, [this, p, take = std::move(take)] {
    in_process(p, 0, [this, p, take] {
      if (!processes_[p]->connected) return;
      processes_[p]->heard = timeline_.now();
      take();
    });
  });
}

void World::take_hello(int p) {
  const gang::Hello& hello = processes_[p]->hello;
  const gang::Entry entry = gang::admit(hello, gang_, options_);
  require(entry.verdict != Verdict::refused, "an honest worker was refused: ", entry.reason);
  if (entry.verdict == Verdict::go && !entry.park) {
    const auto held = gang_.members.find(hello.partition);
    require(held == gang_.members.end() || !held->second.living(), "a living member's place was given away");
    require(!newest_.contains(hello.partition) || newest_[hello.partition] < hello.attempt,
            "an older attempt took a place");
    newest_[hello.partition] = hello.attempt;
  }
  gang::on_hello(gang_, hello, entry, timeline_.now());
  sessions_[p] = entry.park;
  if (!entry.park) to_worker(p, [this, p, verdict = entry.verdict] { told_verdict(p, verdict); });
}

void World::hang_up(int p, bool told) {
  if (told) to_worker(p, [this, p] { told_abort(p); });
  sessions_.erase(p);
}

void World::lost_connection(int p) {
  if (sessions_.erase(p) == 0) return;
  Member* member = member_of(gang_, processes_[p]->hello);
  if (member && member->living()) lose(*member, {.how = gang::Loss::vanished, .cause = {}, .when = timeline_.now()});
  act();
}

void World::lose(Member& member, gang::Lost lost) {
  const int p = process_of(member.hello);
  const bool may_live = lost.how == gang::Loss::vanished || stands_still(lost);
  tally_.stuck += lost.how == gang::Loss::stuck;
  gang::on_loss(gang_, member, std::move(lost));
  if (member.lost->how != gang::Loss::failed) to_worker(p, [this, p] { told_abort(p); });
  if (may_live) end_process(member);
}

void World::end_process(const Member& member) {
  const int p = process_of(member.hello);
  if (held_ && !kill(p, 0)) held_.reset();
  if (!stands_still(*member.lost)) return;
  if (!held_) kill(p, 0);
  for (const auto& [other, parked] : sessions_) {
    if (processes_[other]->host != processes_[p]->host) continue;
    if (other != p && !member_of(gang_, processes_[other]->hello)) continue;
    to_worker(other, [this, p, host = processes_[other]->host] { kill(p, host); });
  }
}

void World::act() {
  for (const bool to_work : {true, false}) {
    for (auto& [p, parked] : sessions_) {
      if (!parked) continue;
      const gang::Entry entry = gang::admit(processes_[p]->hello, gang_, options_);
      if (!entry.park && (entry.verdict == Verdict::go) == to_work) take_hello(p);
    }
  }
  for (const gang::Decision& decision : gang::decide(timeline_.now(), gang_, options_)) carry_out(decision);
}

void World::carry_out(const gang::Decision& decision) {
  switch (decision.action) {
    case gang::Action::pause:
      return pause();
    case gang::Action::halt:
      return halt();
    case gang::Action::form:
      return begin(*decision.start, decision.lending);
    case gang::Action::rescue:
      for (const int partition : decision.partitions) {
        gang_.members.at(partition).rescued = true;
        launch(partition, 0, chance_.between(0.1, 0.5));
      }
      return;
    case gang::Action::dismiss:
      for (const int partition : decision.partitions) {
        lose(gang_.members.at(partition), {.how = gang::Loss::dismissed, .cause = {}, .when = timeline_.now()});
      }
      return;
    case gang::Action::agree:
      return gang::on_agreed(gang_, decision.partitions);
    case gang::Action::lower:  // its workers all compute alike
    case gang::Action::refuse:
    case gang::Action::give_up:  // not asked for: it would be another training
    case gang::Action::abort:
      return;
    case gang::Action::end:
      return end(decision.failure);
  }
}

/// Whoever owns a shard has its rows: it has read them, or all of what was lent has come.
void World::check_rows(const Generation& generation) const {
  for (int s = 0; s < plan_.shards; ++s) {
    const int owner = generation.start.owners[s];
    require(owner >= 0, "nobody got shard ", s);
    require(has_rows(*processes_[process_at(generation, owner)], s), "a worker got shard ", s,
            ", whose rows it has not got");
  }
}

/// Training pauses once for what a worker lends.
void World::check_lending(const Generation& generation) const {
  require(std::ranges::any_of(generation.attempts, [&](int p) { return lends(p) && !processes_[p]->has_lent; }),
          "training paused to lend what was lent already");
}

/// As far as the coordinator knows.
bool World::lends(int p) const { return gang_.members.at(processes_[p]->hello.partition).lends.value_or(false); }

void World::begin(gang::Start start, bool lending) {
  auto generation = std::make_shared<Generation>();
  std::map<int, int> region_of;
  for (const auto& member : start.roster.members) {
    const int p = static_cast<int>(member.attempt);
    require(!processes_[p]->work, "a generation begins while a member works in an older one");
    generation->attempts.push_back(p);
    const auto [found, fresh] = region_of.try_emplace(processes_[p]->host, static_cast<int>(region_of.size()));
    if (fresh) generation->regions.emplace_back();
    generation->regions[found->second].ranks.push_back(member.rank);
    generation->host_of.push_back(found->second);
  }
  for (Region& region : generation->regions) {
    region.numbers.resize(region.ranks.size());
    region.partials.resize(plan_.shards);
    region.made_for.resize(plan_.shards);
    region.made_by.resize(plan_.shards, -1);
    region.lent.resize(region.ranks.size());
    region.board.pushes.resize(plan_.shards);
  }
  generation->held = held_;
  generation->start = std::move(start);
  check_rows(*generation);
  if (lending) check_lending(*generation);
  for (const int p : generation->attempts) processes_[p]->has_lent |= lends(p);
  gang::on_start(gang_, generation->start);
  ++tally_.generations;
  tally_.lendings += lending;
  tally_.grown += static_cast<int>(generation->attempts.size()) > options_.workers;
  tally_.done_without += static_cast<int>(generation->attempts.size()) < options_.workers;
  generation->number = gang_.generation;
  newest_generation_ = generation;
  for (const int p : generation->attempts) to_worker(p, [this, p, generation] { start_work(p, generation); });
  if (std::exchange(grown_job_, gang_.job) != gang_.job) grow();
}

void World::pause() {
  gang::on_pause(gang_);
  for (const auto& [p, parked] : sessions_) {
    const Member* member = member_of(gang_, processes_[p]->hello);
    if (member && member->working) to_worker(p, [this, p = p, g = gang_.generation] { told_pause(p, g); });
  }
}

/// A planned change cuts no step: nobody has run a micro-batch of one that has not been committed.
void World::check_nothing_cut() const {
  const auto at_work = std::ranges::count_if(gang_.members, [](const auto& entry) { return entry.second.working; });
  if (!gang_.pausing || at_work < gang_.ranks) return;
  for (const int p : newest_generation_->attempts) {
    require(processes_[p]->state && processes_[p]->state->commit >= newest_generation_->newest_run,
            "a planned change cut the step of commit ", newest_generation_->newest_run);
  }
}

void World::halt() {
  const std::string standstill = gang::standstill(gang_, options_);
  if (standstill.empty()) check_nothing_cut();
  require(standstill.empty() || cut_until_ > TimePoint(), "nobody was cut off, but: ", standstill);
  tally_.standstills += !standstill.empty();
  gang::on_halt(gang_, timeline_.now(), standstill);
  for (const auto& [p, parked] : sessions_) {
    const Member* member = member_of(gang_, processes_[p]->hello);
    if (member && member->working) to_worker(p, [this, p = p, g = gang_.generation] { told_halt(p, g); });
  }
}

void World::restart() {
  if (gang_.end) return;
  for (auto& [partition, member] : gang_.members) {
    if (!member.lost) lose(member, {.how = gang::Loss::replaced, .cause = {}, .when = timeline_.now()});
    end_process(member);
  }
  for (auto& [p, parked] : sessions_) {
    if (std::exchange(parked, false)) to_worker(p, [this, p = p] { told_verdict(p, Verdict::finished); });
  }
  if (gang_.running) halt();
  gang::on_restart(gang_);
  done_.clear();
  options_.workers = std::max(1, options_.workers - chance_.number(0, 2));
  for (int partition = 0; partition < options_.workers; ++partition) launch(partition, 0, chance_.between(0.2, 0.6));
}

/// A place whose worker cannot work there, and nobody else has its rows.
bool World::lacks_rows_for_good() const {
  return std::ranges::any_of(gang_.members, [&](const auto& entry) {
    return entry.second.lost && entry.second.lost->fatal() && !gang::can_do_without(entry.first, gang_);
  });
}

void World::end(const std::optional<Error>& failure) {
  const bool given_up = failure && lacks_rows_for_good();
  require(!failure || given_up, "the fit failed: ", failure ? failure->what() : "");
  tally_.given_up += given_up;
  over_ = true;
  ++tally_.fits;
}

// Spark

/// A job for late workers: each comes when a slot is free.
void World::grow() {
  for (int place = options_.workers; place < options_.most_workers; ++place) {
    launch(place, 0, chance_.between(0.01, 2));
  }
}

int World::launch(int partition, int attempt_number, double seconds) {
  const int p = static_cast<int>(processes_.size());
  auto process = std::make_unique<Process>();
  process->host = plan_.hosts == 1 ? 0 : chance_.number(0, plan_.hosts - 1);
  process->unkillable = chance_.hits(plan_.unkillable);
  if (plan_.scheme == Scheme::arrival && chance_.hits(0.3)) process->slowness = 4;
  process->hello = {.partition = partition,
                    .attempt = static_cast<uint64_t>(p),
                    .attempt_number = attempt_number,
                    .job = gang_.job,
                    .host = cat("host", process->host)};
  processes_.push_back(std::move(process));
  in_process(p, seconds, [this, p] { connect(p); });
  return p;
}

bool World::runs(int partition) const {
  return std::ranges::any_of(processes_, [&](const auto& process) {
    return process->alive && process->hello.partition == partition && process->hello.job == gang_.job;
  });
}

/// The task has returned or died; Spark starts it again unless it believes it done.
void World::task_ends(int p, bool success) {
  const gang::Hello& hello = processes_[p]->hello;
  if (hello.job != gang_.job) return;
  if (success && is_late_place(hello.partition, gang_, options_)) {  // the driver offers the place again
    if (!runs(hello.partition)) launch(hello.partition, 0, chance_.between(1, 3));
    return;
  }
  if (success) done_[hello.partition] = true;
  if (!done_[hello.partition] && !runs(hello.partition)) {
    launch(hello.partition, hello.attempt_number + 1, chance_.between(0.05, 0.4));
  }
}

}  // namespace stoker::simulator
