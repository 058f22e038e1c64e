#include "gang/alike.h"

#include <algorithm>

#include "base/level.h"

namespace stoker::gang {
namespace {

constexpr int kMostRefusals = 3;  // of one place, in a row
constexpr const char* kCure =
    "use machines of one kind, or set spark.stoker.arithmetic to 'any': the fit goes on then, and its history says "
    "that it is inexact";

std::vector<const Member*> at_work(const Gang& gang) {
  std::vector<const Member*> members;
  for (const auto& [partition, member] : gang.members) {
    if (member.working && member.living()) members.push_back(&member);
  }
  return members;
}

int count(const std::vector<const Member*>& members, const Hash128& digest) {
  return static_cast<int>(
      std::ranges::count_if(members, [&](const Member* member) { return member->fingerprint->digest == digest; }));
}

std::string with_cpu(const Member& member) { return cat(who(member.hello), " on ", member.fingerprint->cpu); }

/// Those who differ, the ones that were let in before aside.
std::vector<const Member*> odd(const std::vector<const Member*>& members, const Hash128& common) {
  std::vector<const Member*> odd;
  std::ranges::copy_if(members, std::back_inserter(odd),
                       [&](const Member* member) { return member->fingerprint->digest != common && !member->let_in; });
  return odd;
}

/// What the others are, for comparison.
std::string others(const std::vector<const Member*>& members, const Hash128& common) {
  const auto first =
      std::ranges::find_if(members, [&](const Member* member) { return member->fingerprint->digest == common; });
  if (first == members.end()) return "those that the fit was trained with so far";
  return cat("those of ", count(members, common), " of ", members.size(), " workers, such as ", with_cpu(**first));
}

std::string how_it_differs(const Member& member, const std::string& others) {
  const std::string& error = member.fingerprint->error;
  return cat(with_cpu(member), " computes other bits than the fit's: the loss and gradients of one canned micro-batch ",
             error.empty() ? "are not " : cat("failed there (", error, ") and are not "), others);
}

std::vector<int> partitions_of(const std::vector<const Member*>& members) {
  std::vector<int> partitions;
  for (const Member* member : members) partitions.push_back(member->hello.partition);
  return partitions;
}

/// At a lower level kernels are more alike. Nothing is lost by it but the time: no step has been committed.
bool may_lower(const Gang& gang, const CoordinatorOptions& options) {
  return !gang.fingerprint && !gang.lowered && gang.isa > options.lowest_isa;
}

std::string level_name(int isa) { return name(static_cast<Level>(isa)); }

}  // namespace

std::optional<Hash128> common_fingerprint(const Gang& gang) {
  const auto members = at_work(gang);
  const auto told = [](const Member* member) { return member->fingerprint.has_value(); };
  if (members.empty() || !std::ranges::all_of(members, told)) return {};
  if (gang.fingerprint) return gang.fingerprint;
  const auto most = std::ranges::max_element(  // the first of the largest
      members, {}, [&](const Member* member) { return count(members, member->fingerprint->digest); });
  return (*most)->fingerprint->digest;
}

std::vector<Decision> decide_alike(const Gang& gang, const CoordinatorOptions& options) {
  const auto common = gang.running && !gang.agreed ? common_fingerprint(gang) : std::nullopt;
  if (!common) return {};
  const auto members = at_work(gang);
  const auto differ = odd(members, *common);
  if (differ.empty()) return {{.action = Action::agree}};
  const std::string like = others(members, *common), what = how_it_differs(*differ.front(), like);
  const std::string more = differ.size() > 1 ? cat("; so do ", differ.size() - 1, " more") : "";
  if (options.allow_other_bits || gang.changed_rows)
    return {{.action = Action::agree, .reason = what + more, .partitions = partitions_of(differ)}};
  if (may_lower(gang, options)) {
    return {{.action = Action::lower,
             .reason = cat("all workers begin again at instruction-set level ", level_name(gang.isa - 1), ": at ",
                           level_name(gang.isa), " ", what, more)}};
  }
  std::vector<Decision> decisions;
  for (const Member* member : differ) {
    decisions.push_back({.action = Action::refuse,
                         .reason = cat(how_it_differs(*member, like), "; ", kCure),
                         .partitions = {member->hello.partition}});
  }
  return decisions;
}

Lost lost_to_refusal(const Gang& gang, int partition, std::string cause, TimePoint now,
                     const CoordinatorOptions& options) {
  const auto before = gang.refusals.find(partition);
  const int refusals = before == gang.refusals.end() ? 1 : before->second + 1;
  const bool hopeless =
      refusals >= kMostRefusals && !is_late_place(partition, gang, options) && !options.allow_lost_rows;
  if (hopeless) cause = cat(refusals, " processes in a row were refused in this place: ", cause);
  return {.how = Loss::refused,
          .kind = hopeless ? ErrorKind::user : ErrorKind::world,
          .cause = std::move(cause),
          .when = now};
}

}  // namespace stoker::gang
