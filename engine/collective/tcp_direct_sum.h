#pragma once
// Direct sums over several hosts: shared memory inside a host, TCP between hosts. Used by one thread.
//
// The vector is cut into one slice per rank of the world; rank g owns slice g. For each slice of another host's rank
// one rank of this host, the slice's *carrier*, folds the host's partials as far as the canonical tree allows, sends
// them with the host's scalars to the owner, and receives the sums into its host's memory. So every host holds
// all sums after exchange(), and each host repeats the same update: slice() cuts the vector among the ranks of the
// host.
//
// A slice goes in blocks: a carrier folds one just before it goes, the owner adds one up when all hosts' parts of it
// are there and sends its sum while the next ones come. What was added up may still turn out not to be what was sent,
// so the last block of a slice's sum waits for the tags of all partials: nobody gets a whole sum of what is not proven.
#include "collective/direct_sum.h"
#include "collective/mesh_group.h"

namespace stoker::collective {

class TcpDirectSum final : public DirectSum {
 public:
  TcpDirectSum(MeshGroup& group, const ShardSumOptions& options);
  void exchange() override;
  Range slice() const override;
  const float* sum(Range range) override;
  void replace_partials() override;

 private:
  /// Page-aligned floats of this process.
  struct Staging {
    explicit Staging(int64_t floats) : memory(shm::Segment::unshared(static_cast<size_t>(floats) * sizeof(float))) {}
    float* data() const { return reinterpret_cast<float*>(memory.bytes().data()); }
    shm::Segment memory;
  };
  /// One of my host's partials, as it goes to other hosts: some ranks' partials and how to add them.
  struct HostPartial {
    std::vector<Source> sources;
    SumProgram program;
  };

  /// What follows from the set of present shards.
  struct Plan {
    std::vector<std::vector<int>> present;     // shards by host, ascending
    std::vector<std::vector<double>> scalars;  // by host, of its present shards one after the other
    std::vector<std::vector<Node>> nodes;      // partials by host
    std::vector<HostPartial> host_partials;    // of my host
    std::vector<Source> sources;               // of my slice
    SumProgram program{{0, 0}, {}};
  };

  void plan() override;
  Plan make_plan() const;
  void plan_partials(Plan& plan, const std::vector<Partial>& mine) const;
  void plan_sum(Plan& plan, const std::vector<Partial>& mine) const;
  std::vector<ShardSet> owned_by_hosts() const;
  float* place_of_sums();
  Range global_slice(int slice) const;
  size_t parts_before(int host, int64_t block) const;
  bool has_come(int host, int64_t block) const;
  bool is_proven(int host) const;
  bool for_all_others(const std::function<bool(int)>& holds) const;
  std::vector<Node> nodes_of(int host) const;
  std::vector<int> slices_carried() const;
  int64_t floats_carried() const;
  int64_t floats_gathered() const;
  std::span<double> scalars_of(int host) { return plan_->scalars[static_cast<size_t>(host)]; }

  void gather_scalars();
  void send_partials();
  void send_partials_of(int slice, float* folded);
  void expect_partials();
  void expect_partials_of(int host, float* place);
  void expect_sums();
  void send_sums();
  void add_what_has_come();
  void add_all_totals();

  MeshGroup& mesh_;
  const Topology& topology_;
  std::vector<ShardSet> host_owns_;  // by host
  float* sums_;                      // a whole vector of the host; alone on it, the first partial's
  Staging outgoing_;                 // my host's partials of the slices that I carry
  Staging incoming_;                 // other hosts' partials of my slice
  std::vector<size_t> came_;         // by host: parts of its partials of my slice, and their tag
  int64_t added_ = 0;                // blocks of my slice
  BySet<Plan> plans_;
  Plan* plan_ = nullptr;  // of this step
};

}  // namespace stoker::collective
