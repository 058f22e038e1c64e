#include "gang/membership.h"

#include <algorithm>

#include "base/level.h"
#include "gang/alike.h"
#include "gang/deal.h"

namespace stoker::gang {
namespace {

using Verdict = Admission::Verdict;

constexpr int kMaxStumbles = 3;
constexpr int kMostTold = 4;       // stumbles in one message
constexpr double kSameRow = 0.15;  // share of the rows: they are told of in steps, and the last one may be lost
constexpr double kPingsASecond = 400;
constexpr int kPingsInPatience = 4;
constexpr int kLongAgo = 3;  // times the patience with one that is silent
constexpr char kLending[] = "workers of one host lend each other their rows";
constexpr auto kSettle = std::chrono::milliseconds(100);

Entry refuse(Error error) { return {.verdict = Verdict::refused, .reason = error.what(), .error = error}; }

std::string level_name(int isa) { return name(static_cast<Level>(isa)); }

/// The level a worker can run at: what it has loaded, else its best.
int usable(const Hello& hello) { return hello.loaded_isa >= 0 ? hello.loaded_isa : hello.isa; }

const Hello* lowest(const std::vector<const Hello*>& hellos) {
  return *std::ranges::min_element(hellos, {}, [](const Hello* hello) { return usable(*hello); });
}

/// Everyone runs at the lowest level; who has loaded a higher one cannot go down.
std::optional<Error> level_conflict(const std::vector<const Hello*>& hellos) {
  const Hello* low = lowest(hellos);
  for (const Hello* hello : hellos) {
    if (hello->loaded_isa <= usable(*low)) continue;
    return Error(ErrorKind::user,
                 cat(who(*hello), " has libtorch loaded at instruction-set level ", level_name(hello->loaded_isa),
                     " already, but all workers must run at ", level_name(usable(*low)), " because of ", who(*low),
                     ": start a new Spark session, or set spark.python.worker.reuse to false"));
  }
  return {};
}

std::vector<const Hello*> hellos_of(const Gang& gang) {
  std::vector<const Hello*> hellos;
  for (const auto& [partition, member] : gang.members) {
    if (!member.lost) hellos.push_back(&member.hello);
  }
  return hellos;
}

/// A gang that has begun stays at its level, because the bits depend on it.
std::optional<Error> level_misfit(const Hello& hello, int isa) {
  if (isa < 0 || (usable(hello) >= isa && hello.loaded_isa <= isa)) return {};
  return Error(ErrorKind::world,
               cat(who(hello), hello.loaded_isa > isa ? " has libtorch loaded at" : " can run at no more than",
                   " instruction-set level ", level_name(usable(hello)), ", but this fit began at ", level_name(isa)));
}

std::optional<Error> misfit(const Hello& hello, const Gang& gang, const CoordinatorOptions& options) {
  if (hello.partition < 0 || hello.partition >= std::max(options.workers, options.most_workers)) {
    return Error(
        ErrorKind::user,
        cat(who(hello), " came, but the fit has ", options.workers,
            " workers: the DataFrame has more partitions than numWorkers; repartition it, or use assign='hash'"));
  }
  if (!options.torch_version.empty() && hello.torch_version != options.torch_version) {
    return Error(ErrorKind::user, cat(who(hello), " has torch ", hello.torch_version, ", but the driver has torch ",
                                      options.torch_version, ": install the same version on all executors"));
  }
  if (const auto error = level_misfit(hello, gang.isa)) return error;
  auto hellos = hellos_of(gang);
  std::erase_if(hellos, [&](const Hello* other) { return other->partition == hello.partition; });
  hellos.push_back(&hello);
  return level_conflict(hellos);
}

std::string when(const Member& member) {
  return member.step < 0 ? std::string("before the first step") : cat("at step ", member.step);
}

Error failure_of(const Member& member) {
  const Lost& lost = *member.lost;
  if (lost.kind == ErrorKind::user) return {lost.kind, cat(lost.cause, " [", who(member.hello), "]")};
  const char* verb = lost.how == Loss::failed ? " failed " : " was lost ";
  return {lost.kind, cat(who(member.hello), verb, when(member), ": ", lost.cause)};
}

/// The earliest of the members for which `chosen` holds; none: nullptr.
template <typename Chosen>
const Member* earliest_lost(const Gang& gang, Chosen chosen) {
  const Member* best = nullptr;
  for (const auto& [partition, member] : gang.members) {
    if (!member.lost || !chosen(member)) continue;
    if (!best || member.lost->when < best->lost->when) best = &member;
  }
  return best;
}

/// Whether nothing that starts again would go better, and nobody else has the rows of one that never came to work.
bool ends_the_fit(const Member& member, const Gang& gang) {
  const bool worked = member.generation > 0 && member.lost->how != Loss::refused;
  return member.lost->fatal() && (worked || !can_do_without(member.hello.partition, gang));
}

std::vector<Decision> decide_fatal(const Gang& gang, const Member& cause) {
  const Error failure = failure_of(cause);
  std::vector<Decision> decisions;
  if (!gang.aborted) decisions.push_back({.action = Action::abort, .reason = failure.what()});
  decisions.push_back({.action = Action::end, .reason = failure.what(), .failure = failure});
  return decisions;
}

bool stayed_empty(TimePoint now, const Member& member, const Gang& gang, const CoordinatorOptions& options) {
  const int partition = member.hello.partition;
  const bool done_without = member.generation < gang.generation;  // the newest generation began without it
  if (done_without && gang.running) return false;
  const TimePoint since =
      done_without && gang.halted_at ? std::max(member.lost->when, *gang.halted_at) : member.lost->when;
  return options.worker_timeout > 0 && now - since >= from_seconds(options.worker_timeout) &&
         !is_late_place(partition, gang, options) && !can_do_without(partition, gang);
}

Error not_replaced(const Member& member, const CoordinatorOptions& options) {
  const Error loss = failure_of(member);
  return {ErrorKind::world,
          cat(loss.what(), "; no other attempt took its place within ", options.worker_timeout, " s (workerTimeout)")};
}

/// Places for which Spark will start nobody: it holds the partition for done, or has had its time.
std::vector<int> in_need_of_rescue(TimePoint now, const Gang& gang, const CoordinatorOptions& options) {
  std::vector<int> partitions;
  if (options.rescue_after <= 0) return partitions;
  for (const auto& [partition, member] : gang.members) {
    if (!member.lost || member.lost->fatal() || member.rescued || is_late_place(partition, gang, options)) continue;
    const bool long_ago = now - member.lost->when >= from_seconds(options.rescue_after);
    if (long_ago || gang.released.contains(partition)) partitions.push_back(partition);
  }
  return partitions;
}

/// Late members for which `chosen` holds, among those that are at work nowhere.
template <typename Chosen>
std::vector<int> idle_late(const Gang& gang, const CoordinatorOptions& options, Chosen chosen) {
  std::vector<int> partitions;
  for (const auto& [partition, member] : gang.members) {
    const bool idle = is_late_place(partition, gang, options) && member.living() && !member.working;
    if (idle && chosen(member)) partitions.push_back(partition);
  }
  return partitions;
}

/// A rescue needs a slot; late members have slots, and the gang can do without them.
std::vector<int> in_the_way(const Gang& gang, const CoordinatorOptions& options) {
  auto late = idle_late(gang, options, [](const Member&) { return true; });
  const auto waits = [](const auto& entry) { return entry.second.lost && entry.second.rescued; };
  if (late.empty() || std::ranges::none_of(gang.members, waits)) return {};
  return late;
}

/// Why the running generation cannot go on; "": it can.
std::string break_of(const Gang& gang) {
  const auto of_it = [&](const Member& member) { return member.generation == gang.generation; };
  if (const Member* lost = earliest_lost(gang, of_it)) return failure_of(*lost).what();
  int ranks = 0;
  for (const auto& [partition, member] : gang.members) {
    ranks += of_it(member);
    if (member.working || !member.living() || !of_it(member)) continue;
    return cat(who(member.hello), " left its generation", member.stumble.empty() ? "" : ": ", member.stumble);
  }
  return ranks < gang.ranks ? "a worker was lost, and another has its place already" : "";
}

/// "a; b; and 7 more"
std::string list_of(const std::vector<std::string>& words) {
  std::string all;
  const size_t told = std::min<size_t>(words.size(), kMostTold);
  for (size_t i = 0; i < told; ++i) all += cat(i == 0 ? "" : "; ", words[i]);
  return words.size() > told ? cat(all, "; and ", words.size() - told, " more") : all;
}

/// All of them, as one may have met what another's leaving looks like.
std::string stumbles_of(const Gang& gang) {
  if (!gang.standstill.empty()) return gang.standstill;
  std::vector<std::string> words;
  for (const auto& [partition, member] : gang.members) {
    if (!member.stumble.empty()) words.push_back(cat(who(member.hello), ": ", member.stumble));
  }
  return words.empty() ? "unknown" : list_of(words);
}

/// Members in places that are not late.
int places_taken(const Gang& gang, const CoordinatorOptions& options) {
  return static_cast<int>(std::ranges::count_if(
      gang.members, [&](const auto& entry) { return !is_late_place(entry.first, gang, options); }));
}

int places(const Gang& gang, const CoordinatorOptions& options) {
  return options.workers - static_cast<int>(gang.given_up.size());
}

/// Whether all places but late ones are taken, each by a member for which it holds.
template <typename Holds>
bool all(const Gang& gang, const CoordinatorOptions& options, Holds holds) {
  return places_taken(gang, options) == places(gang, options) &&
         std::ranges::all_of(gang.members, [&](const auto& entry) {
           return is_late_place(entry.first, gang, options) || holds(entry.second);
         });
}

bool is_ready(const Member& member) { return member.living() && member.shards.has_value(); }

bool nobody_works(const Gang& gang) {
  return std::ranges::none_of(gang.members, [](const auto& entry) { return entry.second.working; });
}

/// One that has its rows and is not in the newest generation.
const Member* newcomer(const Gang& gang) {
  const auto found = std::ranges::find_if(gang.members, [&](const auto& entry) {
    return is_ready(entry.second) && entry.second.generation != gang.generation;
  });
  return found == gang.members.end() ? nullptr : &found->second;
}

/// Whether all at work know what they can lend, and one of them has not lent yet what another one of its host could
/// use.
bool may_lend(const Gang& gang) {
  std::map<std::string, int> on_host;
  std::set<std::string> lenders;
  for (const auto& [partition, member] : gang.members) {
    if (!member.working) continue;
    if (!member.lends) return false;
    ++on_host[member.hello.host];
    if (*member.lends && !member.lent) lenders.insert(member.hello.host);
  }
  return std::ranges::any_of(lenders, [&](const std::string& host) { return on_host[host] > 1; });
}

/// Whether all rows are there: in their places, or borrowed.
bool rows_are_there(const Gang& gang, const CoordinatorOptions& options) {
  return all(gang, options,
             [&](const Member& member) { return is_ready(member) || can_do_without(member.hello.partition, gang); });
}

/// Whether all members of the newest generation that are left in it have paused.
bool all_paused(const Gang& gang) {
  return gang.pausing && std::ranges::all_of(gang.members, [&](const auto& entry) {
           const Member& member = entry.second;
           return member.generation != gang.generation || member.lost || member.paused;
         });
}

/// Of a gang that has paused, or is about to.
std::string why_paused(const Gang& gang) { return newcomer(gang) ? "a worker is taken in" : kLending; }

bool start_is_late(TimePoint now, const Gang& gang, const CoordinatorOptions& options) {
  return places_taken(gang, options) < places(gang, options) && gang.first_hello && options.start_timeout > 0 &&
         now - *gang.first_hello >= from_seconds(options.start_timeout);
}

/// The driver adds what keeps the others away (health/doctor.py); docs/troubleshooting.md quotes the text.
Error start_timed_out(const Gang& gang, const CoordinatorOptions& options) {
  const bool too_few = options.slots > 0 && options.slots < options.workers;
  const std::string slots = options.slots > 0 ? cat("the session has ", options.slots, " slots") : "slots were missing";
  return {too_few ? ErrorKind::user : ErrorKind::world,
          cat(places_taken(gang, options), " of ", options.workers, " workers started within ", options.start_timeout,
              " s; ", slots, " and the fit needs ", options.workers,
              " free ones at the same time: lower numWorkers or raise startTimeout")};
}

/// What a worker stumbled over may be a death that is not known here yet.
bool may_be_an_echo(TimePoint now, const Gang& gang) {
  return gang.halted_at && gang.losses == gang.losses_before && !all_paused(gang) && now - *gang.halted_at < kSettle;
}

RosterEntry roster_entry(const Hello& hello, int rank) {
  return {.rank = rank,
          .host = hello.host,
          .port = hello.peer_port,
          .unix_name = hello.unix_name,
          .pid = hello.pid,
          .attempt = hello.attempt};
}

uint64_t newest_commit(const Gang& gang) {
  uint64_t newest = 0;
  for (const auto& [partition, member] : gang.members) {
    if (!member.lost) newest = std::max(newest, member.commit);
  }
  return newest;
}

/// The start message of the next generation.
Start form(const Gang& gang, const CoordinatorOptions& options) {
  Start start;
  start.commit = newest_commit(gang);
  std::vector<const Member*> ranks;
  for (const auto& [partition, member] : gang.members) {
    if (is_ready(member)) ranks.push_back(&member);
  }
  Deal dealt = deal(ranks, gang, options);
  start.shards = std::move(dealt.shards);
  start.owners = std::move(dealt.owners);
  const bool any = std::ranges::any_of(
      start.shards, [&](const ShardCount& shard) { return shard.rows > 0 && start.owners[shard.shard] >= 0; });
  const bool held = std::ranges::any_of(start.shards, [](const ShardCount& shard) { return shard.held > 0; });
  if (!any && held) fail_user("all rows are held out for validation, and none are left to train on");
  if (!any) fail_user("the DataFrame has no rows");
  start.isa = gang.isa >= 0 ? gang.isa : usable(*lowest(hellos_of(gang)));
  start.roster.generation = gang.generation + 1;
  start.roster.force_tcp = options.force_tcp;
  for (const Member* member : ranks) {
    start.roster.members.push_back(roster_entry(member->hello, static_cast<int>(start.roster.members.size())));
  }
  return start;
}

/// The member that has been idle for the longest time, where that is longer than `limit` seconds.
std::optional<int> most_stuck(const Gang& gang, double limit) {
  std::optional<int> most;
  for (const auto& [partition, member] : gang.members) {
    const bool told_to_halt = member.working && !gang.running;
    if (!member.living() || told_to_halt || member.idle <= limit) continue;
    if (!most || member.idle > gang.members.at(*most).idle) most = partition;
  }
  return most;
}

Decision end_with(const Error& failure) {
  return {.action = Action::end, .reason = failure.what(), .failure = failure};
}

Decision decide_form(const Gang& gang, const CoordinatorOptions& options) {
  const int in_a_row = stumbles(gang, newest_commit(gang));
  if (in_a_row == kMaxStumbles - 1) {  // without them it went well
    auto late = idle_late(gang, options, [&](const Member& member) { return member.generation == gang.generation; });
    const std::string reason = cat("the others cannot work together with it: ", stumbles_of(gang));
    if (!late.empty()) return {.action = Action::dismiss, .reason = reason, .partitions = std::move(late)};
  }
  if (in_a_row >= kMaxStumbles) {
    return end_with({ErrorKind::world, cat("the workers cannot work together, in ", kMaxStumbles,
                                           " attempts; the last failed with: ", stumbles_of(gang))});
  }
  try {
    std::string reason = gang.generation == 0 ? "all rows are in" : "every place is filled again";
    if (!all(gang, options, is_ready)) reason = "others have the rows of those who are missing";
    const bool planned = all_paused(gang) && gang.losses == gang.losses_before;
    if (planned)
      reason = why_paused(gang);
    else if (gang.generation > 0 && gang.losses == gang.losses_before)
      reason = cat("nobody was lost, but the last generation ended: ", stumbles_of(gang));
    return {
        .action = Action::form, .reason = reason, .start = form(gang, options), .lending = planned && !newcomer(gang)};
  } catch (const Error& error) {
    return end_with(error);
  }
}

bool nobody_is_missing(const Gang& gang, const CoordinatorOptions& options) {
  return all(gang, options, [](const Member& member) { return !member.lost; });
}

/// An attempt whose partition has a living or finished member already.
Entry admit_beside(const Hello& hello, const Member& member, const Gang& gang, const CoordinatorOptions& options) {
  if (member.finished) return {.verdict = Verdict::finished, .reason = who(member.hello) + " has ended already"};
  const std::string reason = cat(who(member.hello), " lives in attempt ", member.hello.attempt);
  const bool newer = hello.attempt > member.hello.attempt;
  if (newer && hello.attempt_number > 0) return {.park = true, .verdict = Verdict::finished, .reason = reason};
  const bool spare = newer && gang.spares && nobody_is_missing(gang, options);
  return {.park = spare, .verdict = Verdict::duplicate, .reason = reason};
}

Entry not_needed(std::string reason) { return {.verdict = Verdict::finished, .reason = std::move(reason)}; }

/// Whether training can go on without the rows of a member that stayed away: somebody must have rows.
bool may_give_up(const Gang& gang, const CoordinatorOptions& options) {
  return options.allow_lost_rows && gang.generation > 0 &&
         std::ranges::any_of(gang.members, [](const auto& entry) { return is_ready(entry.second); });
}

Decision give_up(const Member& member, const CoordinatorOptions& options) {
  return {.action = Action::give_up,
          .reason = cat(not_replaced(member, options).what(),
                        ": training goes on without its rows (onWorkerLost='continue')"),
          .partitions = {member.hello.partition}};
}

/// What the running generation must do, if anything.
std::optional<Decision> decide_running(const Gang& gang, const CoordinatorOptions& options) {
  if (const std::string reason = break_of(gang); !reason.empty()) return Decision{Action::halt, reason};
  if (all_paused(gang)) return Decision{Action::halt, why_paused(gang)};
  if (const std::string reason = standstill(gang, options); !reason.empty()) return Decision{Action::halt, reason};
  const Member* late = gang.pausing ? nullptr : newcomer(gang);
  if (late) return Decision{Action::pause, who(late->hello) + " has its rows and is to be taken in"};
  if (!gang.pausing && gang.agreed && !options.force_tcp && may_lend(gang)) return Decision{Action::pause, kLending};
  return {};
}

}  // namespace

bool is_late_place(int partition, const Gang& gang, const CoordinatorOptions& options) {
  return partition >= options.workers || gang.given_up.contains(partition);
}

bool can_do_without(int partition, const Gang& gang) {
  const auto own = gang.shards_of.find(partition);
  if (gang.generation == 0 || own == gang.shards_of.end()) return false;
  return std::ranges::all_of(own->second, [&](int shard) {
    return std::ranges::any_of(gang.members, [&](const auto& entry) {
      return is_ready(entry.second) && entry.second.borrowed.contains(shard);
    });
  });
}

std::string who(const Hello& hello) {
  return cat("worker ", hello.partition, " (host ", hello.host, ", pid ", hello.pid, ")");
}

const char* name(Loss how) {
  switch (how) {
    case Loss::failed:
      return "failed";
    case Loss::vanished:
      return "vanished";
    case Loss::silent:
      return "silent";
    case Loss::stuck:
      return "stuck";
    case Loss::replaced:
      return "replaced";
    case Loss::dismissed:
      return "dismissed";
    case Loss::refused:
      return "refused";
  }
  return "?";
}

Lost lost_to(const Failed& failed, TimePoint now) {
  return {.how = Loss::failed, .kind = failed.kind, .cause = failed.text, .when = now};
}

Entry admit(const Hello& hello, const Gang& gang, const CoordinatorOptions& options) {
  if (gang.end || gang.aborted || gang.result_here) {
    return not_needed("the fit has ended");
  }
  if (hello.job < gang.job) {
    return not_needed("the Spark job of this attempt has ended");
  }
  const auto member = gang.members.find(hello.partition);
  if (member != gang.members.end()) {
    if (!member->second.lost) return admit_beside(hello, member->second, gang, options);
    if (hello.attempt <= member->second.hello.attempt) {
      return {.verdict = Verdict::duplicate, .reason = cat("attempt ", hello.attempt, " is not the newest")};
    }
    if (member->second.lost->fatal()) {
      return not_needed("others have the rows of this place, and nobody who starts there would do better: " +
                        member->second.lost->cause);
    }
  }
  if (const auto error = misfit(hello, gang, options)) {
    return can_do_without(hello.partition, gang) ? not_needed(error->what()) : refuse(*error);
  }
  const bool late = is_late_place(hello.partition, gang, options);
  if (late && !nobody_is_missing(gang, options)) {
    return not_needed("other workers are missing, and this one's slot may be needed for them");
  }
  return {};
}

Lost out_of_memory_or(Lost vanished, const Gang& gang, const Member& member, const CoordinatorOptions& options) {
  const auto before = gang.vanished_at.find(member.hello.partition);
  if (vanished.how != Loss::vanished || member.shards || before == gang.vanished_at.end()) return vanished;
  const auto [fewer, more] = std::minmax(before->second, member.rows);
  if (fewer == 0 || more - fewer > fewer * kSameRow) return vanished;
  vanished.kind = ErrorKind::user;
  vanished.cause = cat("two attempts in a row were killed after about ", more,
                       " rows, without a word: most likely for lack of memory; raise ", options.memory_setting,
                       ", use more executors, or fewer rows");
  return vanished;
}

std::optional<Error> changed_rows(const Member& member, const std::vector<ShardCount>& told, const Gang& gang) {
  for (const ShardCount& shard : told) {
    const auto first = gang.registered.find(shard.shard);
    if (first == gang.registered.end()) continue;
    if (first->second.rows == shard.rows && first->second.digest == shard.digest) continue;
    return Error(ErrorKind::user,
                 cat(who(member.hello), " read its rows again, and they are other rows than before (shard ",
                     shard.shard, ": ", shard.rows, " rows now, ", first->second.rows, " before",
                     first->second.rows == shard.rows ? ", changed" : "",
                     "): the DataFrame is not the same each time it is computed, for example because of rand(), "
                     "limit() or a sum "
                     "of doubles after a shuffle; write it to a table or checkpoint() it before fit, or set "
                     "onChangedRows='continue'"));
  }
  return {};
}

std::vector<Decision> decide(TimePoint now, const Gang& gang, const CoordinatorOptions& options) {
  if (gang.end) return {};
  if (gang.result_here) return {{.action = Action::end, .reason = "the result is here"}};
  const auto fatal = [&](const Member& member) { return ends_the_fit(member, gang); };
  if (const Member* cause = earliest_lost(gang, fatal)) return decide_fatal(gang, *cause);
  if (gang.restarting) return {};
  if (start_is_late(now, gang, options)) return {end_with(start_timed_out(gang, options))};
  const auto late = [&](const Member& member) { return stayed_empty(now, member, gang, options); };
  if (const Member* member = earliest_lost(gang, late)) {
    if (may_give_up(gang, options)) return {give_up(*member, options)};
    if (!options.allow_lost_rows) return {end_with(not_replaced(*member, options))};
  }
  if (all(gang, options, [](const Member& member) { return member.finished; })) {
    return {end_with({ErrorKind::bug, "all workers finished and none of them sent a result"})};
  }
  std::vector<Decision> decisions;
  if (auto partitions = in_need_of_rescue(now, gang, options); !partitions.empty()) {
    decisions.push_back({.action = Action::rescue, .reason = "Spark starts nobody there", .partitions = partitions});
  }
  if (auto partitions = in_the_way(gang, options); !partitions.empty()) {
    const std::string reason = "its slot is needed for a worker that was lost";
    decisions.push_back({.action = Action::dismiss, .reason = reason, .partitions = std::move(partitions)});
    return decisions;  // no generation begins with one that is sent away
  }
  if (auto decision = gang.running ? decide_running(gang, options) : std::nullopt) {
    decisions.push_back(std::move(*decision));
  } else if (!gang.running && rows_are_there(gang, options) && nobody_works(gang) && !may_be_an_echo(now, gang)) {
    decisions.push_back(decide_form(gang, options));
  } else {
    std::ranges::move(decide_alike(gang, options), std::back_inserter(decisions));
  }
  return decisions;
}

bool is_steady(const Gang& gang, const CoordinatorOptions& options) {
  const bool on_its_way = gang.running ? gang.agreed && !gang.pausing : gang.generation == 0;
  return on_its_way && !gang.restarting && places_taken(gang, options) == places(gang, options) &&
         std::ranges::all_of(gang.members, [](const auto& entry) { return entry.second.living(); });
}

double ping_every(const Gang& gang, const CoordinatorOptions& options) {
  double seconds = static_cast<double>(gang.members.size()) / kPingsASecond;
  if (options.heartbeat_timeout > 0) seconds = std::min(seconds, options.heartbeat_timeout / kPingsInPatience);
  return std::max(options.heartbeat, seconds);
}

int stumbles(const Gang& gang, uint64_t commit) {
  const bool stumbled = gang.generation > 0 && gang.losses == gang.losses_before && commit <= gang.commit_before;
  return stumbled ? gang.stumbles + 1 : 0;
}

std::string standstill(const Gang& gang, const CoordinatorOptions& options) {
  if (!break_of(gang).empty()) return {};  // that is what they waited for
  const double limit = kLongAgo * options.heartbeat_timeout * gang.patience;
  std::vector<std::string> words;
  for (const auto& [partition, member] : gang.members) {
    if (!member.working || !member.living()) continue;
    if (limit <= 0 || member.awaits.empty() || member.waiting <= limit) return {};
    words.push_back(cat(who(member.hello), " waits for ", member.awaits));
  }
  if (words.empty()) return {};
  return cat("all wait for each other, and nothing has moved for ", limit, " s: ", list_of(words));
}

std::vector<Missed> silent(TimePoint now, const Gang& gang, const CoordinatorOptions& options) {
  std::vector<Missed> missed;
  if (options.heartbeat_timeout <= 0) return missed;
  const double patience = options.heartbeat_timeout * gang.patience;
  const Duration limit = from_seconds(patience);
  const bool halt_is_late = gang.halted_at && now - *gang.halted_at > kLongAgo * limit;
  const auto gets_on = [&](const Member& member) { return std::max(member.idle, member.waiting) <= patience; };
  for (const auto& [partition, member] : gang.members) {
    if (!member.living()) continue;
    if (now - member.last_heard > limit) {
      missed.push_back({partition, Loss::silent, cat("it gave no sign of life for ", patience, " s")});
    } else if (halt_is_late && member.working && !gets_on(member)) {
      missed.push_back(
          {partition, Loss::silent, cat("it was told to halt and has not within ", kLongAgo * patience, " s")});
    }
  }
  if (const auto stuck = most_stuck(gang, patience); stuck && missed.empty()) {
    missed.push_back(
        {*stuck, Loss::stuck, cat("its process lives, but its training thread got nothing done for ", patience, " s")});
  }
  return missed;
}

}  // namespace stoker::gang
