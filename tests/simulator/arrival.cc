// The training thread's way through rounds whose replicas push as they arrive, or in the order of a record. A model of
// sync/arrival.cc, on its own decisions (sync/turn_order.h).
#include <algorithm>

#include "world.h"

namespace stoker::simulator {

/// Nobody writes beside the committed state before all have it.
void World::begin_round(int p, uint64_t commit) {
  Process& process = *processes_[p];
  process.place = 0;
  process.alone.clear();
  if (process.local == 0) lay_out_board(process, commit);
  arrive(p, begun, commit);
  await(
      p, [this, p, commit] { return reached(*processes_[p], begun, commit); },
      [this, p, commit] {
        at(Point::begun, p, [this, p, commit] {
          set_out_blocks(*processes_[p], commit);
          run_next(p, commit);
        });
      });
}

void World::lay_out_board(Process& process, uint64_t commit) {
  Board& board = region(process).board;
  const auto before = numbers_of(process.state->sets[(commit - 1) % 2]);
  board.begun = board.tickets = sync::pushes_made(before);
  for (size_t s = 0; s < before.size(); ++s) board.pushes[s] = before[s].pushes;
  board.applied.fill(-1);
}

void World::set_out_blocks(Process& process, uint64_t commit) {
  Memory& memory = *process.state;
  may_write(process, "set out in");
  const Set& old = memory.sets[(commit - 1) % 2];
  Set& fresh = memory.sets[commit % 2];
  fresh.replicas.resize(plan_.shards);
  const auto [from, to] = part(kBlocks, process.local, static_cast<int>(region(process).ranks.size()));
  for (int b = from; b < to; ++b) {
    fresh.common[b] = old.common[b];
    region(process).board.applied[b] = sync::pushes_made(numbers_of(old));
  }
  poke_region(process);
}

/// Of the round that makes a commit.
std::span<const uint8_t> World::record_of(const Memory& memory, uint64_t commit) const {
  const auto base = static_cast<size_t>(sync::pushes_made(numbers_of(memory.sets[(commit - 1) % 2])));
  const auto count = static_cast<size_t>(course_.windows_of(commit));
  const sync::Record& record = plan_.record ? *plan_.record : memory.record;
  require(record.size() >= base + count, "the record lacks pushes of commit ", commit);
  return std::span(record).subspan(base, count);
}

int World::next_window(Process& process, uint64_t commit) {
  std::vector<int> mine;
  for (int s = 0; s < plan_.shards; ++s)
    if (process.work->start.owners[s] == process.rank) mine.push_back(s);
  Board& board = region(process).board;
  if (plan_.record) {
    const auto record = record_of(*process.state, commit);
    process.place = sync::next_by_record(record, process.place, mine) + 1;
    return process.place > static_cast<int64_t>(record.size()) ? sync::kNobody : record[process.place - 1];
  }
  const int64_t base = sync::pushes_made(numbers_of(process.state->sets[(commit - 1) % 2]));
  const auto present = course_.present(commit);
  const int64_t left = base + course_.windows_of(commit) - board.begun;
  return sync::next_by_arrival({board.pushes, present, left, plan_.bound}, mine);
}

void World::run_next(int p, uint64_t commit) {
  Process& process = *processes_[p];
  const int shard = next_window(process, commit);
  if (shard == sync::kNobody) return put_partials(p, commit, 0);
  if (shard != sync::kLater) {
    ++region(process).board.begun;
    return run_window(p, commit, shard, 0);
  }
  ++tally_.later;
  await(
      p, [this, p, commit] { return next_window(*processes_[p], commit) != sync::kLater; },
      [this, p, commit] { run_next(p, commit); });
}

void World::run_window(int p, uint64_t commit, int shard, int step) {
  if (step == course_.steps_of(commit)) return push_window(p, commit, shard);
  const double slowness = processes_[p]->slowness;
  const double work = slowness * chance_.between(0.002, 0.02) + std::exchange(processes_[p]->long_work, 0);
  in_thread(p, work, [this, p, commit, shard, step] {
    Process& process = *processes_[p];
    process.work->newest_run = commit;
    require(has_rows(process, shard), "a step was taken with rows that are not there");
    may_write(process, "ran a window in");
    if (!process.alone.contains(shard)) set_out(process, shard, commit);
    Replica& replica = process.state->sets[commit % 2].replicas[shard];
    if (step == 0) process.alone[shard] = replica.weights;
    step_alone(replica.weights, replica.state, commit, shard);
    at(Point::local_step, p, [this, p, commit, shard, step] { run_window(p, commit, shard, step + 1); });
  });
}

void World::push_window(int p, uint64_t commit, int shard) {
  Process& process = *processes_[p];
  Memory& memory = *process.state;
  const int64_t base = sync::pushes_made(numbers_of(memory.sets[(commit - 1) % 2]));
  const int64_t ticket = plan_.record ? base + process.place - 1 : region(process).board.tickets++;
  memory.record.resize(std::max<size_t>(memory.record.size(), ticket + 1));
  memory.record[ticket] = static_cast<uint8_t>(shard);
  const auto& stands = memory.sets[commit % 2].replicas[shard].numbers;
  const sync::Push push = sync::push_at(ticket, shard, course_.steps_of(commit), stands);
  at(Point::ticket, p, [this, p, commit, push, ticket] { apply(p, commit, push, ticket, 0); });
}

/// In the order of tickets, block by block; it pulls what it has pushed into.
void World::apply(int p, uint64_t commit, const sync::Push& push, int64_t ticket, int from) {
  const int to = from == 0 ? kBlocks / 2 : kBlocks;
  const auto turn = [this, p, from, to, ticket] {
    const Board& board = region(*processes_[p]).board;
    return std::all_of(board.applied.begin() + from, board.applied.begin() + to,
                       [&](int64_t applied) { return applied == ticket; });
  };
  await(p, turn, [this, p, commit, push, ticket, from, to] {
    Process& process = *processes_[p];
    may_write(process, "pushed into");
    Set& fresh = process.state->sets[commit % 2];
    const Blocks& pulled = process.alone[push.shard];
    Blocks& replica = fresh.replicas[push.shard].weights;
    for (int b = from; b < to; ++b) {
      replica[b] = fresh.common[b] = pushed_block(fresh.common[b], pulled[b], replica[b], push);
      region(process).board.applied[b] = ticket + 1;
    }
    poke_region(process);
    if (to == kBlocks) return pushed(p, push, ticket, commit);
    at(Point::middle_of_slice, p, [this, p, commit, push, ticket, to] { apply(p, commit, push, ticket, to); });
  });
}

void World::pushed(int p, const sync::Push& push, int64_t ticket, uint64_t commit) {
  Process& process = *processes_[p];
  auto& numbers = process.state->sets[commit % 2].replicas[push.shard].numbers;
  numbers = sync::after_push(numbers, ticket, push.steps);
  region(process).board.pushes[push.shard] = numbers.pushes;
  ++tally_.pushes;
  poke_region(process);
  run_next(p, commit);
}

/// Replicas that have made no window stay as they are.
void World::end_round(int p, uint64_t commit) {
  Process& process = *processes_[p];
  std::vector<bool> pushed;
  for (int s = 0; s < plan_.shards; ++s)
    pushed.push_back(region(process).board.pushes[s] >
                     process.state->sets[(commit - 1) % 2].replicas[s].numbers.pushes);
  keep_replicas(process, commit, pushed);
  arrive(p, slices, commit);
  await(
      p, [this, p, commit] { return reached(*processes_[p], slices, commit); },
      [this, p, commit] { flip_and_go_on(p, commit); });
}

}  // namespace stoker::simulator
