// The training thread's way through steps and rounds. Models of train/session.cc, sync/commit.cc, sync/all_reduce.cc,
// sync/local_steps.cc, sync/turns.cc and sync/replicas.cc.
#include <algorithm>

#include "world.h"

namespace stoker::simulator {

using gang::Kind;
using gang::Member;

void World::step(int p) {
  Process& process = *processes_[p];
  const uint64_t commit = process.state->commit + 1;
  if (commit > plan_.steps + 1) return deliver(p);
  if (course_.scheme == Scheme::arrival) return begin_round(p, commit);
  if (course_.has_replicas()) return local_steps(p, commit, 0);
  const uint64_t weights = digest_of(process.state->sets[(commit - 1) % 2].common);
  const double work = chance_.between(0.002, 0.04) + std::exchange(process.long_work, 0);
  in_thread(p, work, [this, p, commit, weights] { put_partials(p, commit, weights); });
}

bool World::owns(const Process& process, int shard, uint64_t commit) const {
  return process.work->start.owners[shard] == process.rank && course_.present(commit, shard);
}

/// All of my replicas take one step after the other.
void World::local_steps(int p, uint64_t commit, int step) {
  if (step == course_.steps_of(commit)) return put_partials(p, commit, 0);
  const double work = chance_.between(0.002, 0.02) + std::exchange(processes_[p]->long_work, 0);
  in_thread(p, work, [this, p, commit, step] {
    Process& process = *processes_[p];
    process.work->newest_run = commit;
    for (int s = 0; s < plan_.shards; ++s) {
      if (!owns(process, s, commit)) continue;
      require(has_rows(process, s), "a step was taken with rows that are not there");
      if (step == 0) set_out(process, s, commit);
      Replica& replica = process.state->sets[commit % 2].replicas[s];
      step_alone(course_.scheme == Scheme::turns ? replica.weights : process.alone[s], replica.state, commit, s);
    }
    at(Point::local_step, p, [this, p, commit, step] { local_steps(p, commit, step + 1); });
  });
}

/// From the committed state, whatever was run before a death.
void World::set_out(Process& process, int shard, uint64_t commit) {
  Memory& memory = *process.state;
  may_write(process, "began a round in");
  const Set& old = memory.sets[(commit - 1) % 2];
  Set& fresh = memory.sets[commit % 2];
  fresh.replicas.resize(plan_.shards);
  fresh.replicas[shard] = old.replicas[shard];
  process.alone[shard] = old.common;
  tally_.cut += std::exchange(memory.begun[shard], commit) == commit;
}

void World::put_partials(int p, uint64_t commit, uint64_t weights) {
  Process& process = *processes_[p];
  Region& mine = region(process);
  process.work->newest_run = commit;
  for (int s = 0; s < plan_.shards; ++s) {
    if (!owns(process, s, commit)) continue;
    require(has_rows(process, s), "a partial was made of rows that are not there");
    mine.partials[s] = partial(process, s, commit, weights);
    mine.made_for[s] = commit;
    mine.made_by[s] = p;
    if (process.pause) mine.wish = commit;
  }
  arrive(p, partials, commit);
  await(
      p, [this, p, commit] { return reached(*processes_[p], partials, commit); },
      [this, p, commit] { at(Point::partials, p, [this, p, commit] { exchange(p, commit); }); });
}

uint64_t World::partial(Process& process, int shard, uint64_t commit, uint64_t weights) {
  if (!course_.has_replicas() || course_.scheme == Scheme::arrival) return partial_of(weights, commit, shard);
  Replica& replica = process.state->sets[commit % 2].replicas[shard];
  may_write(process, "counted steps in");
  replica.numbers.steps += course_.steps_of(commit);
  const Blocks& came_to = course_.scheme == Scheme::turns ? replica.weights : process.alone[shard];
  return partial_of(digest_of(came_to), commit, shard);
}

/// The first rank sums the partials of its host and gives the sum to the other hosts.
void World::exchange(int p, uint64_t commit) {
  Process& process = *processes_[p];
  const auto generation = process.work;
  const int hosts = static_cast<int>(generation->regions.size()), me = generation->host_of[process.rank];
  if (process.local != 0) return sums_stand(p, commit);
  const Sum sum{sum_of_host(process, commit), region(process).wish == commit};
  generation->sums[{me, commit}][me] = sum;
  for (int h = 0; h < hosts; ++h) {
    if (h == me) continue;
    to_host(generation, h, [generation, h, me, commit, sum] { generation->sums[{h, commit}][me] = sum; });
  }
  const auto add_all = [this, p, generation, me, commit] {
    Region& mine = region(*processes_[p]);
    mine.sum = 0;
    for (const auto& [host, sum] : generation->sums[{me, commit}]) {
      mine.sum += sum.of_partials;
      if (sum.pause) mine.pause = commit;
    }
    sums_stand(p, commit);
  };
  await(
      p,
      [generation, me, commit, hosts] {
        return static_cast<int>(generation->sums[{me, commit}].size()) == hosts;
      },
      add_all);
}

uint64_t World::sum_of_host(Process& process, uint64_t commit) {
  const Region& mine = region(process);
  uint64_t sum = 0;
  for (int s = 0; s < plan_.shards; ++s) {
    if (mine.made_by[s] < 0 || !course_.present(commit, s)) continue;
    require(mine.made_for[s] == commit, "a partial of step ", mine.made_for[s], " was summed in step ", commit);
    require(std::ranges::count(process.work->attempts, mine.made_by[s]) == 1, "a fenced attempt contributed");
    sum += mine.partials[s];
  }
  return sum;
}

void World::sums_stand(int p, uint64_t commit) {
  const bool to_nothing = course_.comes_to_nothing(commit) && commit % 2 == 0;  // the loss tells
  arrive(p, sums, commit);
  await(
      p, [this, p, commit] { return reached(*processes_[p], sums, commit); },
      [this, p, commit, to_nothing] {
        at(Point::sums, p, [this, p, commit, to_nothing] { to_nothing ? keep(p, commit) : share_replicas(p, commit); });
      });
}

/// The first rank gives those of its host to the other hosts, and takes theirs.
void World::share_replicas(int p, uint64_t commit) {
  Process& process = *processes_[p];
  const auto generation = process.work;
  const int hosts = static_cast<int>(generation->regions.size()), me = generation->host_of[process.rank];
  if (course_.scheme == Scheme::arrival) return end_round(p, commit);
  if (!course_.has_replicas() || hosts == 1) return update(p, commit);
  if (process.local != 0) return replicas_stand(p, commit);
  std::map<int, Replica> mine;
  for (int s = 0; s < plan_.shards; ++s)
    if (generation->host_of[generation->start.owners[s]] == me && course_.present(commit, s))
      mine[s] = process.state->sets[commit % 2].replicas[s];
  generation->areas[{me, commit}][me] = {};
  for (int h = 0; h < hosts; ++h) {
    if (h != me)
      to_host(generation, h, [generation, h, me, commit, mine] { generation->areas[{h, commit}][me] = mine; });
  }
  await(
      p,
      [generation, me, commit, hosts] {
        return static_cast<int>(generation->areas[{me, commit}].size()) == hosts;
      },
      [this, p, commit] { take_replicas(p, commit); });
}

void World::take_replicas(int p, uint64_t commit) {
  Process& process = *processes_[p];
  may_write(process, "took replicas into");
  Set& fresh = process.state->sets[commit % 2];
  fresh.replicas.resize(plan_.shards);
  for (const auto& [host, replicas] : process.work->areas[{process.work->host_of[process.rank], commit}])
    for (const auto& [s, replica] : replicas) fresh.replicas[s] = replica;
  replicas_stand(p, commit);
}

void World::replicas_stand(int p, uint64_t commit) {
  arrive(p, replicas, commit);
  await(
      p, [this, p, commit] { return reached(*processes_[p], replicas, commit); },
      [this, p, commit] { at(Point::replicas, p, [this, p, commit] { update(p, commit); }); });
}

void World::update(int p, uint64_t commit) {
  Process& process = *processes_[p];
  const auto [from, to] = part(kBlocks, process.local, static_cast<int>(region(process).ranks.size()));
  const int middle = (from + to) / 2;
  const uint64_t sum = region(process).sum;
  write(p, commit, from, middle, sum);
  at(Point::middle_of_slice, p, [this, p, commit, middle, to = to, sum] {
    write(p, commit, middle, to, sum);
    count_pushes(*processes_[p], commit);
    keep_replicas(*processes_[p], commit, course_.present(commit));
    arrive(p, slices, commit);
    await(
        p, [this, p, commit] { return reached(*processes_[p], slices, commit); },
        [this, p, commit] { course_.comes_to_nothing(commit) ? keep(p, commit) : flip_and_go_on(p, commit); });
  });
}

/// The engine's order and staleness, of what stands in the sets.
std::vector<sync::Push> World::pushes(const Memory& memory, uint64_t commit) const {
  const Set &old = memory.sets[(commit - 1) % 2], &fresh = memory.sets[commit % 2];
  const auto before = numbers_of(old);
  std::vector<int64_t> steps;
  for (int s = 0; s < plan_.shards; ++s) {
    steps.push_back(course_.present(commit, s) ? fresh.replicas[s].numbers.steps - before[s].steps : 0);
  }
  return sync::pushes_of(course_.present(commit), before, steps);
}

/// Each pulls right after its own push.
void World::push_all(Memory& memory, uint64_t commit, int from, int to) {
  const Set& old = memory.sets[(commit - 1) % 2];
  Set& fresh = memory.sets[commit % 2];
  for (int b = from; b < to; ++b) fresh.common[b] = old.common[b];
  for (const auto& push : pushes(memory, commit)) {
    const Blocks& pulled = old.replicas[push.shard].weights;
    Blocks& replica = fresh.replicas[push.shard].weights;
    for (int b = from; b < to; ++b)
      replica[b] = fresh.common[b] = pushed_block(fresh.common[b], pulled[b], replica[b], push);
  }
}

/// The first rank of the host does.
void World::count_pushes(Process& process, uint64_t commit) {
  if (course_.scheme != Scheme::turns || process.local != 0) return;
  Memory& memory = *process.state;
  may_write(process, "counted pushes in");
  int64_t made = sync::pushes_made(numbers_of(memory.sets[(commit - 1) % 2]));
  for (const auto& push : pushes(memory, commit)) {
    sync::ReplicaNumbers& now = memory.sets[commit % 2].replicas[push.shard].numbers;
    ++now.pushes;
    now.pulled = ++made;
    ++tally_.pushes;
  }
}

/// My part of those without rows in the round.
void World::keep_replicas(Process& process, uint64_t commit, const std::vector<bool>& present) {
  if (!course_.has_replicas()) return;
  Memory& memory = *process.state;
  may_write(process, "kept replicas in");
  const int ranks = static_cast<int>(region(process).ranks.size());
  const auto [from, to] = part(kBlocks, process.local, ranks);
  const Set& old = memory.sets[(commit - 1) % 2];
  Set& fresh = memory.sets[commit % 2];
  fresh.replicas.resize(plan_.shards);
  for (int s = 0; s < plan_.shards; ++s) {
    if (present[s]) continue;
    Replica &kept = fresh.replicas[s], mine = old.replicas[s];
    std::copy(mine.weights.begin() + from, mine.weights.begin() + to, kept.weights.begin() + from);
    if (process.local != ranks - 1) continue;
    kept.state = mine.state;
    kept.numbers = mine.numbers;
  }
}

/// The new state is the old one.
void World::keep(int p, uint64_t commit) {
  Process& process = *processes_[p];
  Memory& memory = *process.state;
  may_write(process, "kept the state in");
  const auto [from, to] = part(kBlocks, process.local, static_cast<int>(region(process).ranks.size()));
  const Blocks& old = memory.sets[(commit - 1) % 2].common;
  std::copy(old.begin() + from, old.begin() + to, memory.sets[commit % 2].common.begin() + from);
  keep_replicas(process, commit, std::vector<bool>(plan_.shards));
  const Phase phase = commit % 2 == 0 ? slices : Phase::kept;
  arrive(p, phase, commit);
  await(
      p, [this, p, phase, commit] { return reached(*processes_[p], phase, commit); },
      [this, p, commit] { flip_and_go_on(p, commit); });
}

void World::flip_and_go_on(int p, uint64_t commit) {
  at(Point::before_flip, p, [this, p, commit] {
    flip(p, commit);
    at(Point::flipped, p, [this, p, commit] { after_step(p, commit); });
  });
}

/// All ranks see the same wish in the sums of a step, and so pause after the same one.
void World::after_step(int p, uint64_t commit) {
  Process& process = *processes_[p];
  if (region(process).pause != commit || commit > plan_.steps) return step(p);
  to_coordinator(p, Kind::paused, process.work->number, [](Member& member) { gang::on_paused(member); });
  await(
      p, [] { return false; }, [] {});
}

void World::may_write(const Process& process, const char* what) const {
  tally_.zombies += process.work->number < gang_.generation;
  require(process.state->generation <= process.work->number, "a process of generation ", process.work->number, " ",
          what, " memory of generation ", process.state->generation);
}

void World::write(int p, uint64_t commit, int from, int to, uint64_t sum) {
  Process& process = *processes_[p];
  Memory& memory = *process.state;
  may_write(process, "wrote into");
  if (course_.scheme == Scheme::turns) return push_all(memory, commit, from, to);
  const Blocks& old = memory.sets[(commit - 1) % 2].common;
  for (int b = from; b < to; ++b) memory.sets[commit % 2].common[b] = updated_block(old[b], commit, sum);
}

void World::flip(int p, uint64_t commit) {
  Process& process = *processes_[p];
  Memory& memory = *process.state;
  may_write(process, "flipped");
  require(commit == memory.commit || commit == memory.commit + 1, "commit ", memory.commit, " was followed by ",
          commit);
  tally_.commits += memory.commit != commit;
  tally_.rounds += memory.commit != commit && course_.has_replicas();
  tally_.nothing += memory.commit != commit && course_.comes_to_nothing(commit);
  memory.commit = commit;
  check_flipped(memory, commit);
}

void World::check_flipped(const Memory& memory, uint64_t commit) {
  const Set& set = memory.sets[commit % 2];
  const auto wanted = [&] {
    if (course_.scheme != Scheme::arrival || commit == 1) return truth_.at(commit);
    return truth_.by_record(memory.sets[(commit - 1) % 2], commit, record_of(memory, commit));
  };
  require(set == wanted(), "commit ", commit, " was made with other weights");
  made_.insert({commit, digest_of(set)});
}

/// The first rank's result goes home; the fit ends with it.
void World::deliver(int p) {
  Process& process = *processes_[p];
  if (process.rank == 0) {
    const uint64_t commit = process.state->commit;
    to_coordinator(p, Kind::result_chunk, process.work->number,
                   [this, commit, p, number = process.work->number, set = process.state->sets[commit % 2],
                    record = process.state->record](Member& m) {
                     require(number == gang_.generation, "a result of an older generation was taken");
                     require(m.working, "a result of a member that had left was taken");
                     require(commit == plan_.steps + 1, "the result came after ", commit - 1, " steps");
                     if (course_.scheme == Scheme::arrival) {
                       require(truth_.by_record(record, commit) == set, "the record makes other weights");
                       result_ = {record, digest_of(set)};
                     } else {
                       require(set == truth_.at(commit), "the result has other weights");
                     }
                     gang_.result_here = true;
                   });
  }
  await(
      p, [] { return false; }, [] {}, process.rank != 0);
}

}  // namespace stoker::simulator
