#include "gang/deal.h"

namespace stoker::gang {
namespace {

/// The one of two holders that gets the shard; `one` may be none.
int preferred(const std::vector<const Member*>& members, int one, int other) {
  return one < 0 || members[other]->shards->size() < members[one]->shards->size() ? other : one;
}

bool may_share(const std::vector<const Member*>& members, int one, int other, const CoordinatorOptions& options) {
  const auto late = [&](int i) { return is_late_place(members[i]->hello.partition, options); };
  return one != other && (late(one) || late(other));
}

}  // namespace

Deal deal(const std::vector<const Member*>& members, const CoordinatorOptions& options) {
  Deal dealt{std::vector<ShardCount>(options.shards), std::vector<int>(options.shards, -1)};
  for (int i = 0; i < static_cast<int>(members.size()); ++i) {
    for (const ShardCount& told : *members[i]->shards) {
      const bool known = told.shard >= 0 && told.shard < options.shards && told.rows >= 0;
      if (!known || (dealt.owners[told.shard] >= 0 && !may_share(members, dealt.owners[told.shard], i, options))) {
        fail_bug(who(members[i]->hello), " told of shard ", told.shard, " of ", options.shards,
                 ", which is not its own");
      }
      int& owner = dealt.owners[told.shard];
      owner = preferred(members, owner, i);
      if (owner == i) dealt.shards[told.shard] = told;
    }
  }
  for (int s = 0; s < options.shards; ++s) {
    if (dealt.owners[s] < 0) fail_bug("no worker told of the rows of shard ", s);
  }
  return dealt;
}

}  // namespace stoker::gang
