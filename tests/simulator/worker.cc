// A worker's process: its control link, its part in a generation, and the training thread's way through joining and
// lending. Models of gang/worker_link.cc, train/session.cc and sync/rejoin.cc.
#include <algorithm>

#include "world.h"

namespace stoker::simulator {

using gang::Kind;
using gang::Member;
using Verdict = gang::Admission::Verdict;

/// Happens in the process: later while it is frozen, never once it is dead.
void World::in_process(int p, double seconds, std::function<void()> what) {
  timeline_.in(seconds, [this, p, what = std::move(what)]() mutable {
    Process& process = *processes_[p];
    if (!process.alive || over_) return;
    if (process.frozen) return process.missed.push_back(std::move(what));
    what();
  });
}

/// Happens in the training thread, unless it has left what it was at.
void World::in_thread(int p, double seconds, std::function<void()> what) {
  in_process(p, seconds, [this, p, life = processes_[p]->life, what = std::move(what)]() mutable {
    Process& process = *processes_[p];
    if (process.life != life) return;
    if (process.stuck_since) return process.stuck_before.push_back(std::move(what));
    what();
  });
}

void World::connect(int p) {
  Process& process = *processes_[p];
  process.connected = true;
  process.heard = timeline_.now();
  process.up_until = timeline_.now() + from_seconds(delay());
  in_coordinator(process.up_until, [this, p] {
    sessions_[p] = false;
    take_hello(p);
    act();
  });
}

void World::told_verdict(int p, Verdict verdict) {
  if (verdict != Verdict::go) {
    processes_[p]->alive = false;
    sessions_.erase(p);
    return task_ends(p, true);
  }
  Process& process = *processes_[p];
  process.unable = gang::can_do_without(process.hello.partition, gang_) && chance_.hits(0.2);
  in_thread(p, chance_.between(0.02, 0.2), [this, p] { processes_[p]->unable ? fail(p) : ingest(p); });
}

void World::ingest(int p) {
  Process& process = *processes_[p];
  if (process.hello.job != gang_.job) return;
  process.rows = rows_of(process.hello.partition);
  std::vector<gang::ShardCount> shards;
  for (const int s : process.rows) shards.push_back({s, 1, {}});
  to_coordinator(p, Kind::ingested, gang_.generation, [this, shards](Member& member) {
    require(!gang::on_ingested(gang_, member, shards), "the same rows were called changed");
  });
}

/// It cannot read its rows, say; nor could another one.
void World::fail(int p) {
  ++tally_.unable;
  to_coordinator(p, Kind::failed, gang_.generation, [this](Member& member) {
    const gang::Failed failed{ErrorKind::user, "it cannot work"};
    lose(member, gang::lost_to(failed, timeline_.now()));
  });
  die(p);
}

/// Late workers hold what others hold too, and not every shard is held by one.
std::set<int> World::rows_of(int partition) const {
  std::set<int> shards;
  const auto [from, to] = part(plan_.shards, partition, options_.workers);
  const int late = partition - options_.workers, every = options_.most_workers - options_.workers + 1;
  for (int s = 0; s < plan_.shards; ++s) {
    if (late < 0 ? from <= s && s < to : s % every == late) shards.insert(s);
  }
  return shards;
}

void World::told_pause(int p, uint64_t generation) {
  Process& process = *processes_[p];
  if (process.work && process.work->number == generation) process.pause = true;
}

void World::told_halt(int p, uint64_t generation) {
  Process& process = *processes_[p];
  if (!process.work || process.work->number != generation) return;
  process.halt = true;
  stop_if_waiting(p);
}

void World::told_abort(int p) {
  processes_[p]->aborted = true;
  stop_if_waiting(p);
}

/// A training thread that waits is woken at once; one that does not will see at its next wait.
void World::stop_if_waiting(int p) {
  Process& process = *processes_[p];
  if (process.stuck_since || (process.work && !process.awaits)) return;
  if (process.work) leave(p, process.broken.value_or(""));
  if (!process.aborted || !process.alive) return;
  ++process.life;
  in_process(p, 0.001, [this, p] { die(p); });
}

/// The end of a process, in whatever way: its connections close.
void World::die(int p) {
  Process& process = *processes_[p];
  if (!process.alive) return;
  if (process.work) leave(p, "", true);
  process.alive = false;
  process.up_until = std::max(process.up_until, timeline_.now() + from_seconds(delay())) + Duration(1);
  in_coordinator(process.up_until, [this, p] { lost_connection(p); });
  task_ends(p, false);
}

/// Whether it is certain that the process runs no more; on another host nobody can see.
bool World::kill(int p, int by_host) {
  Process& process = *processes_[p];
  if (!process.alive || process.host != by_host) return true;
  if (process.unkillable) return false;
  die(p);
  return true;
}

void World::start_work(int p, std::shared_ptr<Generation> generation) {
  Process& process = *processes_[p];
  process.work = std::move(generation);
  process.broken.reset();
  process.halt = process.pause = false;
  const auto& attempts = process.work->attempts;
  process.rank = static_cast<int>(std::ranges::find(attempts, p) - attempts.begin());
  const auto& ranks = region(process).ranks;
  process.local = static_cast<int>(std::ranges::find(ranks, process.rank) - ranks.begin());
  for (const int other : attempts) {
    if (other != p && !processes_[other]->alive) process.broken = "a peer did not come";
  }
  if (!std::exchange(process.told_fingerprint, true))
    to_coordinator(p, Kind::fingerprint, process.work->number, [](Member& member) {
      gang::on_fingerprint(member, {.digest = {1, 1}});
    });
  meet(p);
}

void World::await(int p, std::function<bool()> holds, std::function<void()> then, bool peers) {
  Process& process = *processes_[p];
  process.awaits = std::move(holds);
  process.awaits_since = timeline_.now();
  process.awaits_peers = peers;
  process.then = std::move(then);
  if (process.halt || process.aborted || process.broken) return stop_if_waiting(p);
  poke({p});
}

void World::poke(const std::vector<int>& processes) {
  for (const int p : processes) {
    Process& process = *processes_[p];
    if (!process.awaits || !process.awaits()) continue;
    process.awaits = {};
    in_thread(p, chance_.between(0.00001, 0.0005), std::exchange(process.then, {}));
  }
}

void World::poke_region(Process& process) {
  std::vector<int> neighbours;
  for (const int rank : region(process).ranks) {
    const int p = process_at(*process.work, rank);
    if (processes_[p]->work == process.work) neighbours.push_back(p);
  }
  poke(neighbours);
}

/// The training thread has left its generation; peers see its connections close, the coordinator is told.
void World::leave(int p, const std::string& cause, bool died) {
  Process& process = *processes_[p];
  const auto generation = std::exchange(process.work, {});
  process.awaits = {};
  process.then = {};
  ++process.life;
  for (const int other : generation->attempts) {
    if (other == p || processes_[other]->work != generation) continue;
    in_process(other, 0.03 + delay(), [this, other, generation = generation] {
      Process& peer = *processes_[other];
      if (peer.work != generation || peer.broken) return;
      peer.broken = "a peer is gone";
      stop_if_waiting(other);
    });
  }
  if (died || process.aborted) return;
  const uint64_t commit = process.state ? process.state->commit : 0;
  to_coordinator(p, Kind::halted, generation->number, [commit, cause](Member& member) {
    gang::on_halted(member, {commit, cause});
  });
}

/// The training thread passes a point, at which it may be struck.
void World::at(Point point, int p, std::function<void()> then) {
  Process& process = *processes_[p];
  if (process.trap != point) return in_thread(p, chance_.between(0.00001, 0.001), std::move(then));
  process.trap = Point::none;
  ++tally_.struck[static_cast<int>(point)];
  if (process.trap_seconds == 0) return die(p);
  freeze(p, process.trap_seconds);
  in_thread(p, 0, std::move(then));
}

// Joining

void World::arrive(int p, int phase, uint64_t step) {
  Process& process = *processes_[p];
  Region& mine = region(process);
  if (++mine.arrived[phase][step] == static_cast<int>(mine.ranks.size())) poke_region(process);
}

bool World::reached(Process& process, int phase, uint64_t step) {
  Region& mine = region(process);
  return mine.arrived[phase][step] == static_cast<int>(mine.ranks.size());
}

void World::meet(int p) {
  Process& process = *processes_[p];
  const auto generation = process.work;
  ++generation->formed;
  const int size = static_cast<int>(generation->attempts.size());
  const auto then = [this, p] {
    Process& me = *processes_[p];
    const gang::Start& start = me.work->start;
    if (!me.state && start.commit == 0 && me.work->held && me.host == 0) {
      me.state = me.work->held;
      me.adopted = true;
    }
    region(me).numbers[me.local] = me.state ? me.state->commit : 0;
    arrive(p, told, 0);
    await(
        p, [this, p] { return reached(*processes_[p], told, 0); },
        [this, p] { at(Point::met, p, [this, p] { hand_out(p); }); });
  };
  if (generation->formed == size) poke(generation->attempts);
  await(
      p, [generation, size] { return generation->formed == size; }, then);
  if (generation->formed == size) poke(generation->attempts);
}

/// Whether those who shared memory with this worker are in the new gang, or dead for certain.
bool World::undisturbed(int p) {
  Process& process = *processes_[p];
  return std::ranges::all_of(process.neighbours, [&](int old) {
    return std::ranges::count(process.work->attempts, old) > 0 || kill(old, process.host);
  });
}

/// Looked at from above: no living process that is not of this generation is at work in the process's memory.
bool World::nobody_else_works_in(int p) const {
  const Process& me = *processes_[p];
  return std::ranges::none_of(processes_, [&](const auto& other) {
    return other->alive && other->work && other->work != me.work && other->state == me.state;
  });
}

void World::hand_out(int p) {
  Process& process = *processes_[p];
  Region& mine = region(process);
  const bool safe = undisturbed(p) && !process.adopted;
  for (const int rank : mine.ranks) process.neighbours.push_back(process_at(*process.work, rank));
  const sync::Choice choice = sync::choose(mine.numbers);
  if (process.local == choice.source) {
    if (choice.commit == 0) {
      mine.memory = std::make_shared<Memory>();
    } else if (safe) {
      mine.memory = process.state;
      const bool fenced = process.work->number < gang_.generation;  // it will not meet the others any more
      require(fenced || nobody_else_works_in(p), "memory is kept although a process that may write into it lives");
      ++tally_.kept;
    } else {
      mine.memory = std::make_shared<Memory>();
      const uint64_t commit = process.state->commit;  // a zombie may have flipped since the numbers were told
      mine.memory->commit = commit;
      ++(process.adopted ? tally_.adopted : tally_.copied);
      mine.memory->sets[commit % 2] = process.state->sets[commit % 2];
      mine.memory->record = process.state->record;
    }
    mine.memory->generation = std::max(mine.memory->generation, process.work->number);
  }
  if (process.local == choice.source) poke_region(process);
  await(
      p, [&mine] { return mine.memory != nullptr; },
      [this, p] { at(Point::handed_out, p, [this, p] { tell_hosts(p); }); });
}

/// First ranks of hosts tell what they have.
void World::tell_hosts(int p) {
  Process& process = *processes_[p];
  const auto generation = process.work;
  const int hosts = static_cast<int>(generation->regions.size());
  if (process.local != 0 || hosts == 1) return come_together(p);
  const int me = generation->host_of[process.rank];
  const Memory& memory = *region(process).memory;
  const std::pair word{memory.commit, digest_of(memory.sets[memory.commit % 2])};
  generation->words[me][me] = word;
  for (int h = 0; h < hosts; ++h) {
    if (h != me) to_host(generation, h, [generation, h, me, word] { generation->words[h][me] = word; });
  }
  await(
      p, [generation, me, hosts] { return static_cast<int>(generation->words[me].size()) == hosts; },
      [this, p] { choose_host(p); });
}

/// Those in need are given the newest.
void World::choose_host(int p) {
  Process& process = *processes_[p];
  const auto generation = process.work;
  const int me = generation->host_of[process.rank];
  std::vector<uint64_t> commits;
  for (const auto& [host, word] : generation->words[me]) commits.push_back(word.first);
  const sync::Choice choice = sync::choose(commits);
  if (choice.commit == 0) return come_together(p);
  for (const auto& [host, word] : generation->words[me]) {
    require(word.first != choice.commit || word.second == generation->words[me][choice.source].second,
            "hosts have different weights of commit ", choice.commit);
  }
  if (me == choice.source) {
    const Set& set = region(process).memory->sets[choice.commit % 2];
    for (const int needy : choice.needy) {
      to_host(generation, needy, [generation, needy, commit = choice.commit, set] {
        generation->states[needy] = {commit, set};
      });
    }
  }
  if (std::ranges::count(choice.needy, me) == 0) return come_together(p);
  await(
      p, [generation, me] { return generation->states.contains(me); }, [this, p] { load_from_host(p); });
}

void World::load_from_host(int p) {
  Process& process = *processes_[p];
  Memory& memory = *region(process).memory;
  const auto [commit, sent] = process.work->states[process.work->host_of[process.rank]];
  Set& set = memory.sets[commit % 2];
  set.replicas.resize(sent.replicas.size());
  std::copy_n(sent.common.begin(), kBlocks / 2, set.common.begin());
  if (plan_.disasters > 0 && chance_.hits(0.3)) process.trap = Point::between_hosts;  // else it were rare
  at(Point::between_hosts, p, [this, p, &memory, &set, commit = commit, sent = sent] {
    std::copy_n(sent.common.begin() + kBlocks / 2, kBlocks / 2, set.common.begin() + kBlocks / 2);
    set.replicas = sent.replicas;
    memory.commit = commit;
    come_together(p);
  });
}

void World::come_together(int p) {
  arrive(p, shared, 0);
  await(
      p, [this, p] { return reached(*processes_[p], shared, 0); },
      [this, p] { at(Point::joined, p, [this, p] { joined(p); }); });
}

/// What the first rank of a host is sent arrives whatever that process does.
void World::to_host(const std::shared_ptr<Generation>& generation, int host, std::function<void()> arrives) {
  if (timeline_.now() < cut_until_) return;
  const int to = process_at(*generation, generation->regions[host].ranks[0]);
  timeline_.in(delay(), [this, generation, to, arrives = std::move(arrives)] {
    arrives();
    if (processes_[to]->work == generation) poke({to});
  });
}

void World::joined(int p) {
  Process& process = *processes_[p];
  process.state = region(process).memory;
  process.adopted = false;
  process.neighbours.clear();
  for (const int rank : region(process).ranks) process.neighbours.push_back(process_at(*process.work, rank));
  const uint64_t commit = process.state->commit;
  require(commit >= process.work->start.commit, "commit ", process.work->start.commit, " was there, but ", commit,
          " was chosen");
  if (commit > 0) {
    const Set& set = process.state->sets[commit % 2];
    const bool right =
        course_.scheme == Scheme::arrival ? made_.contains({commit, digest_of(set)}) : set == truth_.at(commit);
    require(right, "a generation begins with wrong weights of commit ", commit);
  }
  if (process.local == 0 && process.host == 0) {
    to_coordinator(p, Kind::holding, process.work->number, [this, memory = process.state](Member&) { held_ = memory; });
  }
  if (commit == 0) return load_initial(p);
  lend(p);
}

void World::load_initial(int p) {
  Process& process = *processes_[p];
  if (process.local == 0) {
    Set& set = process.state->sets[1];
    for (int b = 0; b < kBlocks; ++b) set.common[b] = initial_block(b);
    if (course_.has_replicas()) set.replicas.resize(plan_.shards);
    if (course_.pushes())
      for (auto& replica : set.replicas) replica.weights = set.common;
  }
  arrive(p, initial, 1);
  await(
      p, [this, p] { return reached(*processes_[p], initial, 1); },
      [this, p] {
        flip(p, 1);
        lend(p);
      });
}

// Lent rows: train/lending.cc, data/store/row_lender.cc

/// Beside training; not before there is somebody to lend to.
void World::begin_lending(int p) {
  Process& process = *processes_[p];
  if (process.lender) return;
  const bool any = region(process).ranks.size() > 1 && chance_.hits(0.9);
  process.lender = region(process).ranks.size() > 1;
  in_process(p, process.lender ? chance_.between(0, 0.3) : 0, [this, p, any, number = process.work->number] {
    processes_[p]->has_made = any;
    to_coordinator(p, Kind::lends, number, [any](Member& member) { gang::on_lends(member, {any}); });
  });
}

void World::lend(int p) {
  Process& process = *processes_[p];
  if (!plan_.lends) return step(p);
  begin_lending(p);
  if (process.has_made) region(process).lent[process.local] = process.rows;
  if (plan_.disasters > 0 && chance_.hits(0.02)) process.trap = Point::lent;  // else it were rare
  arrive(p, lent, 0);
  await(
      p, [this, p] { return reached(*processes_[p], lent, 0); },
      [this, p] { at(Point::lent, p, [this, p] { borrow(p); }); });
}

/// What came before a halt is begun anew, but for shards that are there whole.
void World::borrow(int p) {
  Process& process = *processes_[p];
  std::vector<int> coming;
  for (const auto& shards : region(process).lent)
    for (const int s : shards)
      if (!has_rows(process, s)) coming.push_back(s);
  for (const int s : coming) process.borrowed[s] = Share::some;
  arrive(p, lent, 1);
  await(
      p, [this, p] { return reached(*processes_[p], lent, 1); },
      [this, p, coming = std::move(coming)] {
        for (const int s : coming) processes_[p]->borrowed[s] = Share::all;
        tell_borrowed(p);
        at(Point::borrowed, p, [this, p] { step(p); });
      });
}

void World::tell_borrowed(int p) {
  const Process& process = *processes_[p];
  gang::BorrowedRows told;
  for (const auto& [s, share] : process.borrowed)
    if (share == Share::all) told.shards.push_back(s);
  if (told.shards.empty()) return;
  to_coordinator(p, Kind::borrowed, process.work->number,
                 [this, told](Member& member) { gang::on_borrowed(gang_, member, told); });
}

bool World::has_rows(const Process& process, int shard) const {
  const auto lent = process.borrowed.find(shard);
  return process.rows.contains(shard) || (lent != process.borrowed.end() && lent->second == Share::all);
}

}  // namespace stoker::simulator
