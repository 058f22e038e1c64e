#pragma once
// Runs an inference program. Immutable once made; any number of threads may call run() at once.
//
// Rows are run in chunks that stay in cache. A row's outputs are the same bits whatever rows come with it: libtorch's
// kernels choose their ways by the number of rows, so a chunk always has the same number, the last one filled up with
// copies of its last row; the kernels of dense.h do not care. That a row's place in a chunk does not matter either is
// tried on random rows when the program is loaded: smaller chunks are taken where it does, at last single rows.
// A program that couples rows runs on all that come.
#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "program/dense_forward.h"
#include "program/format.h"
#include "program/plan.h"
#include "program/safetensors.h"
#include "program/trunk.h"

namespace stoker::program {

class Inference {
 public:
  static constexpr int64_t kMostRows = 256;  // of a chunk

  /// Weights are used where they lie in `weights` (see view_tensor), which must outlive this object. The calling
  /// thread's number of intra-op threads decides which kernels run. `most_rows`: a chunk has no more; it decides bits.
  /// Throws Error(user) where program and weights do not fit.
  Inference(const std::string& program, ByteView weights, int64_t most_rows = kMostRows);

  /// Outputs in the program's order for a batch of rows: inputs in the program's order, batch first.
  /// No gradients are kept. Throws Error(user) where an input does not fit.
  std::vector<at::Tensor> run(const std::vector<at::Tensor>& inputs) const;

  const Program& program() const { return program_; }
  /// Rows that are run at once; 0: as many as come.
  int64_t chunk_rows() const { return chunk_rows_; }

 private:
  struct Chain {
    Trunk trunk;
    DenseForward layers;
  };
  using Tensors = std::vector<at::Tensor>;

  std::unique_ptr<const Chain> make_chain() const;
  void check_inputs(const Tensors& inputs) const;
  int64_t find_chunk_rows(int64_t most_rows) const;
  bool places_do_not_matter(int64_t rows) const;
  bool is_same_elsewhere(int64_t rows, uint64_t seed) const;
  Tensors run_in_chunks(const Tensors& inputs) const;
  Tensors run_chunk(const Tensors& inputs) const;
  at::Tensor run_chain(const at::Tensor& x) const;

  const Program program_;
  Slots weights_;  // a slot vector with parameters, buffers and constants in their places
  const std::unique_ptr<const Chain> chain_;
  const Plan plan_;  // of what is not in the chain
  int64_t chunk_rows_ = 0;
};

}  // namespace stoker::program
