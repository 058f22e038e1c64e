#pragma once
// One fit in virtual time: coordinator, workers, hosts' memory, network, Spark's tasks and everything that can befall
// them. The coordinator decides by the engine's own functions (gang/membership.h, gang/transitions.h, sync/choose.h);
// workers and memory are models of train/session.h, sync/rejoin.h, sync/all_reduce.h, sync/local_steps.h, sync/turns.h,
// sync/arrival.h and sync/replicas.h, kept as close to their order of events as words allow. Sums between hosts are
// modelled as an exchange of the hosts' partials.
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "gang/transitions.h"
#include "memory.h"
#include "sync/choose.h"
#include "timeline.h"

namespace stoker::simulator {

struct Plan {
  int workers = 2;
  int hosts = 1;
  int late = 0;  // places of workers that come later
  int shards = 2;
  uint64_t steps = 4;  // commits
  Scheme scheme = Scheme::steps;
  int window = 1;                           // local steps of a round, at most
  int64_t bound = -1;                       // by arrival
  std::optional<sync::Record> record = {};  // by arrival: an order that was recorded
  int disasters = 3;                        // of all kinds
  double pace = 1;                          // seconds between them, about
  double unkillable = 0;                    // share of processes whose end cannot be proven
  bool lends = false;                       // workers lend their rows to others of their host
};

/// Where a process can be struck.
enum class Point {
  none,
  met,
  handed_out,
  between_hosts,
  joined,
  lent,
  borrowed,
  begun,
  local_step,
  ticket,
  partials,
  sums,
  replicas,
  middle_of_slice,
  before_flip,
  flipped,
  count
};

/// What ranks of a host wait for, one after the other.
enum Phase : int { told, shared, initial, lent, partials, sums, replicas, slices, kept, begun };

/// The part of `count` things that local rank `i` of `n` has.
inline std::pair<int, int> part(int count, int i, int n) { return {i * count / n, (i + 1) * count / n}; }

/// What has happened, so that one sees that it did.
struct Tally {
  int64_t fits = 0, generations = 0, commits = 0, disasters = 0, zombies = 0, kept = 0, copied = 0, adopted = 0;
  int64_t grown = 0;  // generations with late members
  int64_t stuck = 0;
  int64_t standstills = 0;   // generations halted because nothing moved any more
  int64_t lendings = 0;      // generations that began so that rows are lent
  int64_t done_without = 0;  // generations with a place that is empty, because others have its rows
  int64_t unable = 0;        // newcomers to such a place that could not work there
  int64_t given_up = 0;      // fits that ended with one of those, because nobody had its rows any more
  int64_t rounds = 0;        // commits of local steps
  int64_t pushes = 0;        // in them, each replica's
  int64_t cut = 0;           // rounds begun anew by a replica that had run some of it before
  int64_t nothing = 0;       // rounds that left the state as it was
  int64_t again = 0;         // fits with the order that another one recorded
  int64_t later = 0;         // waits for a slower replica
  int64_t struck[static_cast<int>(Point::count)] = {};
};

/// By arrival, what ranks share of a round: tickets and windows are counted through the fit.
struct Board {
  int64_t begun = 0, tickets = 0;
  std::vector<int64_t> pushes;             // by shard, that it has made
  std::array<int64_t, kBlocks> applied{};  // pushes, by block; below 0: it is not there yet
};

/// Ranks of one host in one generation, and the memory that only they share.
struct Region {
  std::vector<int> ranks;          // ascending
  std::vector<uint64_t> numbers;   // told to neighbours, by local rank
  std::shared_ptr<Memory> memory;  // as the holder hands it out
  std::vector<uint64_t> partials;  // by shard
  std::vector<uint64_t> made_for;  // by shard: the commit
  std::vector<int> made_by;        // by shard: the attempt
  uint64_t sum = 0;                // of all hosts
  uint64_t wish = 0;               // the commit after which one of them wants to pause
  uint64_t pause = 0;              // the commit after which all hosts pause
  Board board;
  std::vector<std::set<int>> lent;                 // shards, by the local rank that lends their rows
  std::map<int, std::map<uint64_t, int>> arrived;  // by phase and step: ranks
};

/// How much of a shard's rows a borrower has mapped and looked through.
enum class Share { some, all };

struct Sum {
  uint64_t of_partials = 0;
  bool pause = false;
};

struct Generation {
  uint64_t number = 0;
  gang::Start start;
  std::vector<int> attempts;  // by rank
  std::vector<int> host_of;   // by rank, an index of regions
  std::vector<Region> regions;
  int formed = 0;
  std::map<std::pair<int, uint64_t>, std::map<int, Sum>> sums;        // (to host, commit): by host
  uint64_t newest_run = 0;                                            // the newest commit that partials were made for
  std::map<int, std::map<int, std::pair<uint64_t, uint64_t>>> words;  // to host: by host: commit, digest
  std::map<int, std::pair<uint64_t, Set>> states;                     // to host
  std::map<std::pair<int, uint64_t>, std::map<int, std::map<int, Replica>>> areas;  // (to host, commit): by host, shard
  std::shared_ptr<Memory> held;  // what the coordinator holds, for those on its host
};

/// One attempt's process: an I/O thread that always hears, and a training thread.
struct Process {
  gang::Hello hello;
  int host = 0;
  bool alive = true, frozen = false, unkillable = false;
  bool connected = false;                    // to the coordinator
  std::deque<std::function<void()>> missed;  // while frozen
  std::optional<TimePoint> stuck_since;      // its training thread alone stands still, the process hears and answers
  std::deque<std::function<void()>> stuck_before;  // what the training thread will do when it goes on
  TimePoint up_until{}, down_until{};              // arrival of the last message each way
  // training thread
  uint64_t life = 0;  // grows when the thread leaves what it was at
  std::shared_ptr<Generation> work;
  int rank = 0, local = 0;
  std::shared_ptr<Memory> state;
  bool adopted = false;
  std::vector<int> neighbours;
  std::function<bool()> awaits;
  TimePoint awaits_since{};
  bool awaits_peers = false;  // not the coordinator
  std::function<void()> then;
  std::optional<std::string> broken;  // what it saw of its generation
  bool halt = false;                  // told
  bool pause = false;                 // asked
  bool aborted = false;
  bool told_fingerprint = false;
  std::set<int> rows;             // shards that it has read
  std::map<int, Share> borrowed;  // shards that others of its host have lent it
  bool lender = false;            // makes what it can lend, or has made it
  std::map<int, Blocks> alone;    // shards: where a replica of a round stands, beside the state; by arrival: what it
                                  // pulled
  int64_t place = 0;              // by a record: after the window under way, in the round
  double slowness = 1;            // of its windows
  bool has_made = false;          // that
  bool has_lent = false;          // in some generation
  bool unable = false;            // to work, whatever it does
  double long_work = 0;           // seconds that its next step takes more, in which it gets on
  TimePoint heard{};
  Point trap = Point::none;  // where it will be struck
  double trap_seconds = 0;   // frozen for so long; 0: dies
};

class World {
 public:
  World(const Plan& plan, Chance& chance, Timeline& timeline, Tally& tally);
  /// Lives to the end of the fit. Throws Violation.
  void run();
  /// By arrival, of a fit that came to its end: the order of its pushes, and what came out.
  struct Result {
    sync::Record record;
    uint64_t digest = 0;
  };
  const std::optional<Result>& result() const { return result_; }

 private:
  // network
  double delay() { return chance_.between(0.0002, chance_.hits(0.02) ? 0.03 : 0.002); }
  void in_process(int p, double seconds, std::function<void()> what);
  void in_thread(int p, double seconds, std::function<void()> what);
  void to_coordinator(int p, gang::Kind kind, uint64_t generation, std::function<void(gang::Member&)> take);
  void to_worker(int p, std::function<void()> take);
  void in_coordinator(TimePoint when, std::function<void()> what);
  void be_absent(double seconds);
  // coordinator
  void tick();
  void take_hello(int p);
  void hang_up(int p, bool told);
  void lost_connection(int p);
  void lose(gang::Member& member, gang::Lost lost);
  void end_process(const gang::Member& member);
  void act();
  void carry_out(const gang::Decision& decision);
  void begin(gang::Start start, bool lending);
  void check_rows(const Generation& generation) const;
  void check_lending(const Generation& generation) const;
  bool lends(int p) const;
  bool lacks_rows_for_good() const;
  void pause();
  void halt();
  void check_nothing_cut() const;
  void restart();
  void grow();
  void end(const std::optional<Error>& failure);
  int process_of(const gang::Hello& hello) const { return static_cast<int>(hello.attempt); }
  // Spark
  int launch(int partition, int attempt_number, double seconds);
  void task_ends(int p, bool success);
  bool runs(int partition) const;
  // worker
  void connect(int p);
  void told_verdict(int p, gang::Admission::Verdict verdict);
  void told_halt(int p, uint64_t generation);
  void told_pause(int p, uint64_t generation);
  std::set<int> rows_of(int partition) const;
  void ingest(int p);
  void fail(int p);
  void told_abort(int p);
  void stop_if_waiting(int p);
  bool kill(int p, int by_host);
  void die(int p);
  void start_work(int p, std::shared_ptr<Generation> generation);
  void await(int p, std::function<bool()> holds, std::function<void()> then, bool peers = true);
  void poke(const std::vector<int>& processes);
  void poke_region(Process& process);
  void leave(int p, const std::string& cause, bool died = false);
  void at(Point point, int p, std::function<void()> then);
  // training
  Region& region(Process& process) { return process.work->regions[process.work->host_of[process.rank]]; }
  int process_at(const Generation& generation, int rank) const { return generation.attempts[rank]; }
  void arrive(int p, int phase, uint64_t step);
  bool reached(Process& process, int phase, uint64_t step);
  bool undisturbed(int p);
  bool nobody_else_works_in(int p) const;
  void meet(int p);
  void hand_out(int p);
  void tell_hosts(int p);
  void choose_host(int p);
  void load_from_host(int p);
  void come_together(int p);
  void to_host(const std::shared_ptr<Generation>& generation, int host, std::function<void()> arrives);
  void joined(int p);
  void load_initial(int p);
  void begin_lending(int p);
  void lend(int p);
  void borrow(int p);
  void tell_borrowed(int p);
  bool has_rows(const Process& process, int shard) const;
  void after_step(int p, uint64_t commit);
  void step(int p);
  bool owns(const Process& process, int shard, uint64_t commit) const;
  void local_steps(int p, uint64_t commit, int step);
  void set_out(Process& process, int shard, uint64_t commit);
  void put_partials(int p, uint64_t commit, uint64_t weights);
  uint64_t partial(Process& process, int shard, uint64_t commit, uint64_t weights);
  void exchange(int p, uint64_t commit);
  uint64_t sum_of_host(Process& process, uint64_t commit);
  void sums_stand(int p, uint64_t commit);
  void share_replicas(int p, uint64_t commit);
  void take_replicas(int p, uint64_t commit);
  void replicas_stand(int p, uint64_t commit);
  void update(int p, uint64_t commit);
  std::vector<sync::Push> pushes(const Memory& memory, uint64_t commit) const;
  void push_all(Memory& memory, uint64_t commit, int from, int to);
  void count_pushes(Process& process, uint64_t commit);
  void keep_replicas(Process& process, uint64_t commit, const std::vector<bool>& present);
  void keep(int p, uint64_t commit);
  void may_write(const Process& process, const char* what) const;
  void write(int p, uint64_t commit, int from, int to, uint64_t sum);
  void flip_and_go_on(int p, uint64_t commit);
  void flip(int p, uint64_t commit);
  void check_flipped(const Memory& memory, uint64_t commit);
  void deliver(int p);
  // pushes by arrival
  void begin_round(int p, uint64_t commit);
  void lay_out_board(Process& process, uint64_t commit);
  void set_out_blocks(Process& process, uint64_t commit);
  std::span<const uint8_t> record_of(const Memory& memory, uint64_t commit) const;
  int next_window(Process& process, uint64_t commit);
  void run_next(int p, uint64_t commit);
  void run_window(int p, uint64_t commit, int shard, int step);
  void push_window(int p, uint64_t commit, int shard);
  void apply(int p, uint64_t commit, const sync::Push& push, int64_t ticket, int from);
  void pushed(int p, const sync::Push& push, int64_t ticket, uint64_t commit);
  void end_round(int p, uint64_t commit);
  // disasters
  void plan_disaster();
  void straggler(int p);
  void disaster();
  double freeze_time();
  void freeze(int p, double seconds);
  void wake(int p);
  void cut_hosts_apart();
  void stick(int p, double seconds);
  void unstick(int p);
  gang::Pong pong(int p) const;
  void workers_miss_coordinator();
  int any_process();

  Plan plan_;
  Chance& chance_;
  Timeline& timeline_;
  Tally& tally_;
  const Course course_;
  Truth truth_;
  std::set<std::pair<uint64_t, uint64_t>> made_;  // by arrival: commits that were flipped, and their digests
  std::optional<Result> result_;
  std::vector<std::unique_ptr<Process>> processes_;  // by attempt
  std::map<int, bool> done_;                         // partitions that Spark holds for done
  std::map<int, uint64_t> newest_;                   // by partition: the attempt that holds the place or held it last
  std::shared_ptr<Generation> newest_generation_;
  int grown_job_ = -1;  // the newest for which late workers were sent

  gang::CoordinatorOptions options_;
  gang::Gang gang_;
  std::map<int, bool> sessions_;  // open ones by process: parked?
  std::shared_ptr<Memory> held_;
  std::deque<std::function<void()>> missed_;  // by the coordinator, while it stands still
  TimePoint absent_until_{}, last_tick_{}, next_ping_{};
  TimePoint cut_until_{};  // what hosts say to each other is lost until then
  TimePoint calm_since_{};
  bool over_ = false;
};

}  // namespace stoker::simulator
