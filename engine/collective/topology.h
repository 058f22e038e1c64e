#pragma once
// Which ranks share a host, how vectors are cut into slices, and which rank of a host carries which slice. Pure.
#include <cstdint>
#include <vector>

#include "collective/sum_program.h"

namespace stoker::collective {

class Topology {
 public:
  /// `locals[r]`: the ranks that rank r has proven to share its host, itself among them, ascending. Throws
  /// Error(world) when they do not agree with each other.
  Topology(int rank, const std::vector<std::vector<int>>& locals);

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(host_of_.size()); }
  int hosts() const { return static_cast<int>(hosts_.size()); }
  /// Hosts are numbered by their lowest rank.
  int host() const { return host_of_[rank_]; }
  int host_of(int rank) const { return host_of_[rank]; }
  const std::vector<int>& ranks(int host) const { return hosts_[host]; }
  const std::vector<int>& local_ranks() const { return hosts_[host()]; }
  int local_rank() const { return local_rank_; }
  /// The rank of `host` that sends the host's partials of slice `slice` to its owner and takes its sums.
  int carrier(int host, int slice) const { return hosts_[host][slice % hosts_[host].size()]; }

 private:
  int rank_;
  int local_rank_ = 0;
  std::vector<int> host_of_;
  std::vector<std::vector<int>> hosts_;
};

/// Part `index` of `count` of a vector of `floats`, cut at whole blocks, as even as can be.
Range slice_of(int64_t floats, int64_t block, int index, int count);

}  // namespace stoker::collective
