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
//
// What is rounded (ShardSumOptions::bf16) travels packed: every node's sum is such a number wherever it is made, so the
// bits are those of one host.
#include "collective/direct_sum.h"
#include "collective/mesh_group.h"
#include "collective/wire_layout.h"

namespace stoker::collective {

class TcpDirectSum final : public DirectSum {
 public:
  TcpDirectSum(MeshGroup& group, const ShardSumOptions& options);
  void exchange() override;
  Range slice() const override;
  const float* sum(Range range) override;
  void replace_partials() override;

 private:
  /// Page-aligned memory of this process.
  struct Staging {
    explicit Staging(size_t bytes) : memory(shm::Segment::unshared(bytes)) {}
    std::byte* data() const { return memory.bytes().data(); }
    shm::Segment memory;
  };
  /// One of my host's partials, as it goes to other hosts: some ranks' partials and how to add them.
  struct HostPartial {
    std::vector<Source> sources;
    SumProgram program;
  };
  /// A block of it on its way.
  struct Part {
    HostPartial* partial = nullptr;  // that the block is to be made of
    Range block = {};
    std::byte* to = nullptr;
  };
  /// The sums of a slice that I carry, and its blocks that came and were unpacked.
  struct Carried {
    int slice = 0;
    size_t came = 0;
    size_t taken = 0;
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
  const std::vector<Range>& my_blocks() const { return blocks_[topology_.rank()]; }
  size_t parts_before(int host, size_t block) const;
  bool has_come(int host, size_t block) const;
  bool is_proven(int host) const;
  bool for_all_others(const std::function<bool(int)>& holds) const;
  std::vector<Node> nodes_of(int host) const;
  std::vector<int> slices_carried() const;
  size_t bytes_carried() const;
  size_t bytes_gathered() const;
  std::span<double> scalars_of(int host) { return plan_->scalars[static_cast<size_t>(host)]; }

  void gather_scalars();
  void send_partials();
  void send_partials_of(int slice, std::byte* place);
  void make(const Part& part);
  void expect_partials();
  void expect_partials_of(int host, std::byte* place);
  void expect_sums();
  void send_sums();
  std::byte* packed_sum(Range block) const;
  std::span<std::byte> sum_on_wire(Range block) const;
  void add_what_has_come();
  void take_sums_that_came();
  void add_all_totals();

  MeshGroup& mesh_;
  const Topology& topology_;
  const WireLayout wire_;
  std::vector<ShardSet> host_owns_;         // by host
  std::vector<std::vector<Range>> blocks_;  // by slice
  float* sums_;                             // a whole vector of the host; alone on it, the first partial's
  Staging outgoing_;                        // my host's partials of the slices that I carry
  Staging incoming_;                        // other hosts' partials of my slice
  Staging packed_;                          // what is rounded of my slice's sums, and of those that come to me
  std::vector<size_t> came_;                // by host: parts of its partials of my slice, and their tag
  std::vector<Carried> carried_;
  size_t added_ = 0;  // blocks of my slice
  BySet<Plan> plans_;
  Plan* plan_ = nullptr;  // of this step
};

}  // namespace stoker::collective
