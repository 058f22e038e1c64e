#pragma once
// The floating-point mode and the number of intra-op threads of the thread that trains, for as long as the object
// lives.
//
// Bits must not depend on where a step runs, so both are set and not inherited. Denormals count as zero: in long runs
// the first moments of weights without gradient fade into them, and each operation on one costs a hundred cycles.
namespace stoker::train {

class Arithmetic {
 public:
  /// For this thread and the intra-op threads that it uses.
  explicit Arithmetic(int threads);
  ~Arithmetic();
  Arithmetic(const Arithmetic&) = delete;
  Arithmetic& operator=(const Arithmetic&) = delete;

 private:
  unsigned mode_before_;
  int threads_before_;
};

}  // namespace stoker::train
