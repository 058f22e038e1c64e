#include "gang/deal.h"

#include <algorithm>

namespace stoker::gang {
namespace {

/// The one of two holders that gets the shard; `one` may be none.
int preferred(const std::vector<const Member*>& members, int one, int other) {
  return one < 0 || members[other]->shards->size() < members[one]->shards->size() ? other : one;
}

/// Of those who have borrowed the shard's rows the one that has the fewest shards so far; -1: nobody has.
int borrower(int shard, const std::vector<const Member*>& members, const std::vector<int>& owners) {
  int best = -1;
  const auto load = [&](int i) { return std::ranges::count(owners, i); };
  for (int i = 0; i < static_cast<int>(members.size()); ++i)
    if (members[i]->borrowed.contains(shard) && (best < 0 || load(i) < load(best))) best = i;
  return best;
}

/// The shard keeps its place in the plan, so that the others' rows stay in their steps.
ShardCount given_up(int shard, const Gang& gang) {
  const auto known = gang.registered.find(shard);
  if (gang.given_up.empty() || known == gang.registered.end()) fail_bug("no worker told of the rows of shard ", shard);
  return known->second;
}

}  // namespace

Deal deal(const std::vector<const Member*>& members, const Gang& gang, const CoordinatorOptions& options) {
  const auto late = [&](int i) { return is_late_place(members[i]->hello.partition, gang, options); };
  Deal dealt{std::vector<ShardCount>(options.shards), std::vector<int>(options.shards, -1)};
  for (int i = 0; i < static_cast<int>(members.size()); ++i) {
    for (const ShardCount& told : *members[i]->shards) {
      const bool known = told.shard >= 0 && told.shard < options.shards && told.rows >= 0;
      const int other = known ? dealt.owners[told.shard] : -1;
      if (!known || other == i || (other >= 0 && !late(other) && !late(i))) {
        fail_bug(who(members[i]->hello), " told of shard ", told.shard, " of ", options.shards,
                 ", which is not its own");
      }
      int& owner = dealt.owners[told.shard];
      owner = preferred(members, owner, i);
      if (owner == i) dealt.shards[told.shard] = told;
    }
  }
  for (int s = 0; s < options.shards; ++s) {
    if (dealt.owners[s] >= 0) continue;
    dealt.owners[s] = borrower(s, members, dealt.owners);
    dealt.shards[s] = dealt.owners[s] >= 0 ? gang.registered.at(s) : given_up(s, gang);
  }
  return dealt;
}

}  // namespace stoker::gang
