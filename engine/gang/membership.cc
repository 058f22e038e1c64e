#include "gang/membership.h"

#include <algorithm>

#include "base/level.h"

namespace stoker::gang {
namespace {

using Verdict = Admission::Verdict;

// A failure that may be the echo of a death waits this long for the death itself to be seen.
constexpr auto kSettle = std::chrono::milliseconds(200);

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
  for (const auto& [partition, member] : gang.members) hellos.push_back(&member.hello);
  return hellos;
}

std::optional<Error> misfit(const Hello& hello, const Gang& gang, const CoordinatorOptions& options) {
  if (hello.partition < 0 || hello.partition >= options.workers) {
    return Error(
        ErrorKind::user,
        cat(who(hello), " came, but the fit has ", options.workers,
            " workers: the DataFrame has more partitions than numWorkers; repartition it, or use assign='hash'"));
  }
  if (!options.torch_version.empty() && hello.torch_version != options.torch_version) {
    return Error(ErrorKind::user, cat(who(hello), " has torch ", hello.torch_version, ", but the driver has torch ",
                                      options.torch_version, ": install the same version on all executors"));
  }
  auto hellos = hellos_of(gang);
  std::erase_if(hellos, [&](const Hello* other) { return other->partition == hello.partition; });
  hellos.push_back(&hello);
  return level_conflict(hellos);
}

/// An attempt whose partition has a member already.
Entry admit_beside(const Hello& hello, const Member& member) {
  if (!member.living()) return {.verdict = Verdict::finished, .reason = who(member.hello) + " has ended already"};
  const std::string reason = cat(who(member.hello), " lives in attempt ", member.hello.attempt);
  const bool speculative = hello.attempt_number > 0 && hello.attempt > member.hello.attempt;
  return {.park = speculative, .verdict = speculative ? Verdict::finished : Verdict::duplicate, .reason = reason};
}

std::string when(const Member& member) {
  return member.step < 0 ? std::string("before the first step") : cat("at step ", member.step);
}

Error failure_of(const Member& member) {
  const Lost& lost = *member.lost;
  if (lost.kind == ErrorKind::user) return {lost.kind, cat(lost.cause, " [", who(member.hello), "]")};
  const char* verb = lost.how == Loss::aborted                            ? " stopped "
                     : lost.how == Loss::failed || lost.how == Loss::echo ? " failed "
                                                                          : " was lost ";
  return {lost.kind, cat(who(member.hello), verb, when(member), ": ", lost.cause)};
}

/// The most credible loss, the earliest of equals.
const Member* cause_of(const Gang& gang) {
  const Member* best = nullptr;
  for (const auto& [partition, member] : gang.members) {
    if (!member.lost) continue;
    if (!best || std::pair(member.lost->how, member.lost->when) < std::pair(best->lost->how, best->lost->when)) {
      best = &member;
    }
  }
  return best;
}

TimePoint first_loss(const Gang& gang) {
  TimePoint first = TimePoint::max();
  for (const auto& [partition, member] : gang.members) {
    if (member.lost) first = std::min(first, member.lost->when);
  }
  return first;
}

std::vector<Decision> decide_loss(TimePoint now, const Gang& gang, const Member& cause) {
  std::vector<Decision> decisions;
  const Error failure = failure_of(cause);
  if (!gang.aborted) decisions.push_back({.action = Action::abort, .reason = failure.what()});
  const bool sure = cause.lost->how < Loss::echo;
  if (sure || now - first_loss(gang) >= kSettle) {
    decisions.push_back({.action = Action::end, .reason = failure.what(), .failure = failure});
  }
  return decisions;
}

bool all(const Gang& gang, const CoordinatorOptions& options, bool (*holds)(const Member&)) {
  return static_cast<int>(gang.members.size()) == options.workers &&
         std::ranges::all_of(gang.members, [&](const auto& entry) { return holds(entry.second); });
}

bool start_is_late(TimePoint now, const Gang& gang, const CoordinatorOptions& options) {
  return static_cast<int>(gang.members.size()) < options.workers && gang.first_hello && options.start_timeout > 0 &&
         now - *gang.first_hello >= from_seconds(options.start_timeout);
}

Error start_timed_out(const Gang& gang, const CoordinatorOptions& options) {
  const bool too_few = options.slots > 0 && options.slots < options.workers;
  const std::string slots = options.slots > 0 ? cat("the session has ", options.slots, " slots") : "slots were missing";
  return {too_few ? ErrorKind::user : ErrorKind::world,
          cat(gang.members.size(), " of ", options.workers, " workers started within ", options.start_timeout, " s; ",
              slots, " and the fit needs ", options.workers,
              " free ones at the same time: lower numWorkers or raise startTimeout")};
}

/// All S shards, ascending; each told once.
std::vector<ShardCount> all_shards(const Gang& gang, int shards) {
  std::vector<std::optional<ShardCount>> found(static_cast<size_t>(shards));
  for (const auto& [partition, member] : gang.members) {
    for (const ShardCount& shard : *member.shards) {
      if (shard.shard < 0 || shard.shard >= shards || found[shard.shard] || shard.rows < 0) {
        fail_bug(who(member.hello), " told of shard ", shard.shard, " of ", shards, ", which is not its own");
      }
      found[shard.shard] = shard;
    }
  }
  std::vector<ShardCount> all;
  for (const auto& shard : found) {
    if (!shard) fail_bug("no worker told of the rows of shard ", all.size());
    all.push_back(*shard);
  }
  return all;
}

RosterEntry roster_entry(const Hello& hello) {
  return {.rank = hello.partition,
          .host = hello.host,
          .port = hello.peer_port,
          .unix_name = hello.unix_name,
          .pid = hello.pid,
          .attempt = hello.attempt};
}

/// The start message of the next generation.
Start form(const Gang& gang, const CoordinatorOptions& options) {
  Start start;
  start.shards = all_shards(gang, options.shards);
  const bool any = std::ranges::any_of(start.shards, [](const ShardCount& shard) { return shard.rows > 0; });
  if (!any) fail_user("the DataFrame has no rows");
  start.isa = usable(*lowest(hellos_of(gang)));
  start.roster.generation = gang.generation + 1;
  start.roster.force_tcp = options.force_tcp;
  start.roster.timeout = options.peer_timeout;
  for (const auto& [partition, member] : gang.members) start.roster.members.push_back(roster_entry(member.hello));
  return start;
}

Decision decide_form(const Gang& gang, const CoordinatorOptions& options) {
  try {
    return {.action = Action::form, .reason = "all rows are in", .start = form(gang, options)};
  } catch (const Error& error) {
    return {.action = Action::end, .reason = error.what(), .failure = error};
  }
}

Decision end_with(const Error& failure) {
  return {.action = Action::end, .reason = failure.what(), .failure = failure};
}

}  // namespace

std::string who(const Hello& hello) {
  return cat("worker ", hello.partition, " (host ", hello.host, ", pid ", hello.pid, ")");
}

Lost lost_to(const Failed& failed, TimePoint now) {
  const Loss how = failed.kind == ErrorKind::aborted ? Loss::aborted
                   : failed.kind == ErrorKind::world ? Loss::echo
                                                     : Loss::failed;
  return {.how = how, .kind = failed.kind, .cause = failed.text, .when = now};
}

Entry admit(const Hello& hello, const Gang& gang, const CoordinatorOptions& options) {
  if (gang.end || gang.aborted) return {.verdict = Verdict::finished, .reason = "the fit has ended"};
  const auto member = gang.members.find(hello.partition);
  if (member != gang.members.end()) return admit_beside(hello, member->second);
  if (const auto error = misfit(hello, gang, options)) return refuse(*error);
  return {};
}

std::vector<Decision> decide(TimePoint now, const Gang& gang, const CoordinatorOptions& options) {
  if (gang.end) return {};
  if (gang.result_here) return {{.action = Action::end, .reason = "the result is here"}};
  if (const Member* cause = cause_of(gang)) return decide_loss(now, gang, *cause);
  if (start_is_late(now, gang, options)) return {end_with(start_timed_out(gang, options))};
  if (all(gang, options, [](const Member& member) { return member.finished; })) {
    return {end_with({ErrorKind::bug, "all workers finished and none of them sent a result"})};
  }
  if (gang.generation == 0 && all(gang, options, [](const Member& member) { return member.shards.has_value(); })) {
    return {decide_form(gang, options)};
  }
  return {};
}

std::vector<int> silent(TimePoint now, const Gang& gang, const CoordinatorOptions& options) {
  std::vector<int> partitions;
  if (options.heartbeat_timeout <= 0) return partitions;
  for (const auto& [partition, member] : gang.members) {
    const bool late = now - member.last_heard > from_seconds(options.heartbeat_timeout);
    if (member.living() && late) partitions.push_back(partition);
  }
  return partitions;
}

}  // namespace stoker::gang
