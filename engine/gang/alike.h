#pragma once
// Whether the members of a generation compute alike: each has told a fingerprint of its arithmetic, and the same bits
// are promised of the fit only where all are equal. Pure, like membership.h.
#include <optional>
#include <vector>

#include "gang/membership.h"

namespace stoker::gang {

/// The fingerprint that the fit is trained with: the one it has been trained with so far, else that of most members
/// of the newest generation, else, of several, the one whose first member comes first. None: not all have told theirs.
std::optional<Hash128> common_fingerprint(const Gang& gang);

/// What is to be done, while the newest generation runs and has not been told that its members compute alike: to tell
/// it, to let all begin again at a lower instruction-set level, or to refuse those who differ.
std::vector<Decision> decide_alike(const Gang& gang, const CoordinatorOptions& options);

/// What a member is lost to that is refused for `cause`. One place that is refused again and again ends the fit, unless
/// the fit goes on without it.
Lost lost_to_refusal(const Gang& gang, int partition, std::string cause, TimePoint now,
                     const CoordinatorOptions& options);

}  // namespace stoker::gang
