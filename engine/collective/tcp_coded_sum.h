#pragma once
// Sums over several hosts of vectors that travel as codes (codes.h). Codes do not add up: each shard's goes to every
// other host, whose ranks decode the slice that they update and add all shards' floats over the canonical tree; so the
// bits are those of one host, and each float of a shard costs a link its bits of code, once. Worth it where a host has
// few shards. Used by one thread.
#include "base/float_rows.h"
#include "collective/direct_sum.h"
#include "collective/mesh_group.h"

namespace stoker::collective {

class TcpCodedSum final : public DirectSum {
 public:
  TcpCodedSum(MeshGroup& group, const ShardSumOptions& options);
  void exchange() override;
  Range slice() const override { return slices_[topology_.rank()]; }
  const float* sum(Range range) override;
  void replace_partials() override;

 private:
  /// What follows from the set of present shards.
  struct Plan {
    std::vector<std::vector<int>> present;     // shards by rank, ascending
    std::vector<std::vector<double>> scalars;  // by rank, of mine and of other hosts' ranks: of these shards
    std::vector<Source> sources;               // of my slice
    SumProgram program{{0, 0}, {}};
  };
  /// A slice in two parts: what is coded, and the floats after it.
  struct Parts {
    Range coded, plain;
  };

  void plan() override;
  void code(float* vector, int shard) override;
  Plan make_plan();
  bool is_elsewhere(int rank) const { return topology_.host_of(rank) != topology_.host(); }
  Parts parts_of(int rank) const;
  float* received(size_t number) { return received_.data() + static_cast<int64_t>(number) * slice().size(); }
  std::span<std::byte> code_received(size_t number);
  size_t number_of(int shard) const;
  void send_to(int rank);
  void expect_from(int rank);
  void decode_all();
  void add_all_totals();

  MeshGroup& mesh_;
  const Topology& topology_;
  const std::vector<Range> slices_;            // by rank, of its host
  const std::vector<int> elsewhere_;           // shards of other hosts, ascending
  std::vector<std::vector<std::byte>> codes_;  // by shard, of mine
  std::vector<std::vector<float>> plain_;      // likewise, what follows what is coded
  std::vector<std::byte> codes_received_;      // my slice of each shard of elsewhere_
  FloatRows received_;                         // the same, decoded, and what follows it
  FloatRows sums_;                             // of the range that was asked for last
  BySet<Plan> plans_;
  Plan* plan_ = nullptr;  // of this step
};

}  // namespace stoker::collective
