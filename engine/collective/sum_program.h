#pragma once
// The sum of some partials over the canonical tree, compiled once for a step's set of partials and run block by block,
// so that each partial is read once and each sum written once. Used by one thread; owns its scratch.
#include <cstdint>
#include <span>
#include <vector>

#include "collective/tree.h"

namespace stoker::collective {

struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

/// A partial's vector, or the part of it that begins at element `origin`. Where `packed` is given, what is rounded of
/// it lies there, as bfloat16, from element `packed_origin` on.
struct Source {
  const float* data = nullptr;
  int64_t origin = 0;
  const uint16_t* packed = nullptr;
  int64_t packed_origin = 0;
  const float* at(int64_t element) const { return data + (element - origin); }
};

class SumProgram {
 public:
  /// For the sum of `root` from partials that are `leaves`: nodes below root (or root itself) that do not overlap.
  /// Whatever they leave out is absent. Of the first `rounded` elements leaves are in bfloat16, and each sum of two
  /// nodes is rounded to it (bf16.h).
  SumProgram(Node root, const std::vector<Node>& leaves, int64_t rounded = 0);

  int sources() const { return sources_; }
  /// sum(sources[0] ...), in the order of `leaves`, of the elements in `range`, into each of `outs` (whole vectors, so
  /// element i goes to [i]). No partial: zeros. An out may be a source's own memory. REQUIRES: range of whole 16
  /// floats.
  void run(std::span<const Source> sources, Range range, std::span<float* const> outs);

  /// Operands and results are sources (0, 1, ...) or scratch rows (-1, -2, ...).
  struct Instruction {
    enum class Kind { add_2, chain_3, chain_4, pairs_4 } kind;
    int terms[4];
    int row;
  };
  const std::vector<Instruction>& instructions() const { return instructions_; }

 private:
  struct Compiler;
  void run_block(std::span<const Source> sources, Range block, float* out);
  void place_terms(std::span<const Source> sources, Range block);
  const float* term(int number) { return number >= 0 ? terms_[number] : row(-1 - number); }
  float* row(int number) { return scratch_[number].floats; }
  static constexpr int64_t kChunk = 1024;  // floats: a few rows of this fit into the first-level cache
  struct alignas(64) Row {
    float floats[kChunk];
  };

  int sources_;
  int64_t rounded_;
  std::vector<Instruction> instructions_;  // the last one writes the sum
  std::vector<Row> scratch_;
  std::vector<Row> unpacked_;        // by source
  std::vector<const float*> terms_;  // by source, of a block
};

}  // namespace stoker::collective
