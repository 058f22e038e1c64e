#pragma once
// Sums one float vector and a few double scalars per logical shard over the canonical tree (tree.h), directly: the
// owner of a slice collects all partials of that slice, adds them and hands the sum out. Same bytes as a ring, one
// round instead of n - 1.
//
// vocabulary: a *partial* is the vector of a maximal tree node that one rank owns; a *slice* is the range of whole
// blocks that one rank sums.
//
// A step of one rank, in this order:
//   begin(step, present)
//   for each owned shard that is present, ascending: fill next(), fill scalars(shard), put(shard)
//   exchange()                 my partials stand; returns when everybody's do (and, between hosts, sums have come)
//   scalar totals, sum(range)  as often as wanted, on ranges of whole blocks inside slice()
// The partials of a step stay untouched until the next begin().
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "collective/codes.h"
#include "collective/group.h"
#include "collective/partials.h"
#include "collective/sum_program.h"
#include "collective/tree.h"

namespace stoker::collective {

/// What the ranks of a host wait for in a sum: partials that stand, sums that have come from other hosts, and, before
/// the next one begins, that nobody reads partials any more.
struct SumPhases {
  Phase partials = Phase::partials;
  Phase sums = Phase::sums;
  Phase slices = Phase::slices;
};

struct ShardSumOptions {
  int shards = 1;
  int64_t floats = 0;            // length of each vector; a multiple of block
  int64_t block = 1024;          // floats
  int scalars = 0;               // doubles per shard
  std::vector<int> owners = {};  // by shard, the rank that owns it; empty: even_owners(). The same on every rank
  Code code = {};                // of the first `coded` floats of each vector: what is added up is what its code says
  int64_t coded = 0;             // whole blocks
  bool bf16 = false;             // instead of a code: each shard's first `coded` floats, and each sum of two nodes, are
                                 // rounded to bfloat16, and travel in it. The rest of a vector, and scalars, are not
  SumPhases phases = {};         // of another sum that is made between two steps of this one: others
  int64_t rounded() const { return bf16 ? coded : 0; }
};

/// How a rank's shards become its partials.
struct OwnFold {
  std::vector<FoldStep> steps;
  std::vector<float*> partials;  // 64-byte aligned, contents undefined
  int64_t rounded = 0;  // so many floats of each shard's vector, and of each sum, are to be rounded to bfloat16
};

class ShardSum {
 public:
  virtual ~ShardSum() = default;
  virtual void begin(uint64_t step, const std::vector<bool>& present) = 0;
  /// Room for the next owned shard's vector, 64-byte aligned, contents undefined. From few addresses, used again.
  virtual float* next() = 0;
  /// The scalars of an owned shard, to be filled before put().
  virtual std::span<double> scalars(int shard) = 0;
  /// Instead of next() and put() for each shard: who fills all vectors together may fold them too. On a stack, the
  /// vectors of `steps` in their order; what is left goes to `partials`, then put_all().
  virtual OwnFold own_fold() = 0;
  virtual void put_all() = 0;
  /// The vector of next() is shard `shard`'s; it is folded with the siblings that are complete.
  virtual void put(int shard) = 0;
  /// My partials stand: peers on this host may go on while I do something else before exchange(). May be left out.
  virtual void publish() = 0;
  virtual void exchange() = 0;
  /// Totals over all shards, summed over the tree; the same on every rank.
  virtual std::vector<double> totals() const = 0;
  /// The part of the vector that this rank sums and, on its host, updates.
  virtual Range slice() const = 0;
  /// The sums of [range.begin, range.end), as a pointer to the *base* of a vector: element i of the range is at [i].
  /// Valid until the next begin() or sum(). REQUIRES: whole blocks inside slice().
  virtual const float* sum(Range range) = 0;
};

/// The implementation that fits the group: local for one rank, shared memory on one host, TCP between hosts, where
/// codes travel instead of floats if there is a code.
std::unique_ptr<ShardSum> make_shard_sum(Group& group, const ShardSumOptions& options);

}  // namespace stoker::collective
