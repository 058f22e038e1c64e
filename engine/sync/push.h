#pragma once
// How what a replica has done comes into the common weights, by the rules of asynchronous SGD. Pure, element by
// element, so parts of the arena may be done by different ranks.
//
// vocabulary: a replica *pulls* the common weights, takes steps alone, and *pushes*; a push is *stale* by the pushes of
// others since that pull. Sources, by rule:
//   downpour  Dean et al. 2012, "Large Scale Distributed Deep Networks"; windows of steps as in its section 4.1
//   agn       Hermans et al. 2017, "Accumulated Gradient Normalization" (dist-keras calls it ADAG)
//   dynsgd    Jiang et al. 2017, "Heterogeneity-aware Distributed Parameter Servers"
//   distance  Hermans 2017, "On Scalable Deep Learning and Parallelizing Gradient Descent", section 4 (the thesis's
//   ADAG) elastic   Zhang et al. 2015, "Deep learning with Elastic Averaging SGD"
//   gradient  Recht et al. 2011, "Hogwild!", and Dean et al. 2012: a window is one step, whose gradient is pushed, and
//             the optimizer takes a step with it (sync/pushing.h)
#include "optim/arena.h"
#include "sync/turn_order.h"

namespace stoker::sync {

enum class Rule { downpour, agn, dynsgd, distance, elastic, gradient };

struct PushRule {
  Rule rule = Rule::downpour;
  double alpha = 0;  // of elastic: the share of the way to each other that replica and common weights go
  double gamma = 0;  // of distance: the square of the distance that halves a weight's push
  /// Whether what a replica set out with counts.
  bool goes_by_way() const { return rule != Rule::elastic && rule != Rule::gradient; }
};

/// `pulled`: the weights that the replica set out with; `replica`: those that it came to, and, afterwards, those with
/// which it goes on; `common`: before and after. All bases of the arena. Where nobody else has pushed since the pull
/// and the rule takes all of the way, the replica's weights become the common ones as they are: so one replica alone
/// trains like one process, bit for bit. REQUIRES: another rule than `gradient`.
void push(const PushRule& rule, const Push& what, optim::Extent range, const float* pulled, float* replica,
          float* common);

}  // namespace stoker::sync
