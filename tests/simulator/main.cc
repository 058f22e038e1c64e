// simulator SEEDS EVENTS MIN_WORKERS MAX_WORKERS [FIRST_SEED]
// Lives through fits with these seeds, EVENTS events each, and ends with 1 at the first violation, with its seed.
#include <cstdio>
#include <cstdlib>

#include "world.h"

namespace stoker::simulator {
namespace {

Plan plan_of(Chance& chance, int min_workers, int max_workers) {
  Plan plan;
  plan.workers = chance.number(min_workers, max_workers);
  plan.hosts = plan.workers > 100 ? chance.number(4, 20) : chance.hits(0.5) ? 1 : chance.number(2, 4);
  plan.late = chance.hits(0.4) ? chance.number(1, plan.workers > 100 ? 20 : 4) : 0;
  plan.shards = plan.workers + (plan.workers > 100 ? 0 : chance.number(0, plan.workers));
  plan.steps = static_cast<uint64_t>(chance.number(1, 60));
  plan.disasters = chance.hits(0.1) ? 0 : plan.workers > 100 ? chance.number(20, 60) : chance.number(1, 12);
  plan.pace = chance.hits(0.5) ? 0.3 : chance.hits(0.5) ? 1 : 6;
  plan.unkillable = chance.hits(0.5) ? 0 : 0.7;
  plan.lends = plan.workers <= 100 && chance.hits(0.5);
  if (plan.workers <= 100 && chance.hits(0.6)) plan.scheme = chance.hits(0.5) ? Scheme::rounds : Scheme::turns;
  plan.window = chance.number(1, 4);
  if (plan.workers <= 100 && chance.hits(0.25)) {
    plan.scheme = Scheme::arrival;
    plan.hosts = 1;
    plan.bound = chance.hits(0.5) ? -1 : chance.number(0, 3);
  }
  return plan;
}

/// The same fit with the order that was recorded, and with other workers to whom other things happen.
Plan again(Plan plan, Chance& chance, const sync::Record& record) {
  plan.record = record;
  plan.workers = chance.number(1, plan.workers);
  plan.late = plan.workers < plan.shards ? chance.number(0, 2) : 0;
  plan.disasters = chance.number(0, 6);
  return plan;
}

/// Fits one after the other, until that many events have happened.
void live(uint64_t seed, int64_t events, int min_workers, int max_workers, Tally& tally) {
  Chance chance(seed);
  for (int64_t done = 0; done < events;) {
    const Plan plan = plan_of(chance, min_workers, max_workers);
    Timeline timeline, next;
    World world(plan, chance, timeline, tally);
    world.run();
    if (const auto& result = world.result(); result && chance.hits(0.5)) {
      World same(again(plan, chance, result->record), chance, next, tally);
      same.run();
      require(!same.result() || same.result()->digest == result->digest, "a recorded order has made other weights");
      ++tally.again;
    }
    done += timeline.events() + next.events();
  }
}

void print(const Tally& t) {
  std::printf(
      "%lld fits, %lld generations, %lld commits; %lld disasters, %lld writes of fenced or halted processes; "
      "states kept %lld times, copied %lld, adopted %lld; %lld generations with late workers; %lld lost for a thread "
      "that stood still, %lld halted because nothing moved; %lld begun to lend rows, %lld without somebody whose rows "
      "others "
      "have, to whose place %lld came that could not work, with which %lld fits ended; %lld commits of local steps "
      "with %lld pushes, "
      "%lld replicas that began a round anew, %lld rounds that came to nothing, %lld fits by a record, %lld waits for "
      "a slower replica\n",
      static_cast<long long>(t.fits), static_cast<long long>(t.generations), static_cast<long long>(t.commits),
      static_cast<long long>(t.disasters), static_cast<long long>(t.zombies), static_cast<long long>(t.kept),
      static_cast<long long>(t.copied), static_cast<long long>(t.adopted), static_cast<long long>(t.grown),
      static_cast<long long>(t.stuck), static_cast<long long>(t.standstills), static_cast<long long>(t.lendings),
      static_cast<long long>(t.done_without), static_cast<long long>(t.unable), static_cast<long long>(t.given_up),
      static_cast<long long>(t.rounds), static_cast<long long>(t.pushes), static_cast<long long>(t.cut),
      static_cast<long long>(t.nothing), static_cast<long long>(t.again), static_cast<long long>(t.later));
  std::printf("struck at the points of a step and of joining:");
  for (int point = 1; point < static_cast<int>(Point::count); ++point) {
    std::printf(" %lld", static_cast<long long>(t.struck[point]));
  }
  std::printf("\n");
}

int run(int argc, char** argv) {
  const int64_t seeds = argc > 1 ? std::atoll(argv[1]) : 20, events = argc > 2 ? std::atoll(argv[2]) : 10000;
  const int min_workers = argc > 3 ? std::atoi(argv[3]) : 1, max_workers = argc > 4 ? std::atoi(argv[4]) : 32;
  const uint64_t first = argc > 5 ? std::strtoull(argv[5], nullptr, 10) : 1;
  Tally tally;
  const Stopwatch watch;
  for (uint64_t seed = first; seed < first + seeds; ++seed) try {
      live(seed, events, min_workers, max_workers, tally);
    } catch (const Violation& violation) {
      std::printf("violation, seed %llu: %s\n", static_cast<unsigned long long>(seed), violation.what());
      return 1;
    }
  std::printf("no violation: %lld seeds of at least %lld events, %d to %d workers, %.1f s\n",
              static_cast<long long>(seeds), static_cast<long long>(events), min_workers, max_workers, watch.elapsed());
  print(tally);
  return 0;
}

}  // namespace
}  // namespace stoker::simulator

int main(int argc, char** argv) { return stoker::simulator::run(argc, argv); }
