#pragma once
#include <cstdint>
#include <memory>
#include <new>

namespace stoker {

/// Floats on whole cache lines, undefined at first.
class FloatRows {
 public:
  /// Room for so many; what was there is lost when there was less.
  void make_room(int64_t floats) {
    if (floats <= size_) return;
    floats_.reset(new (kLine) float[floats]);
    size_ = floats;
  }
  float* data() { return floats_.get(); }

 private:
  static constexpr std::align_val_t kLine{64};
  struct Free {
    void operator()(float* floats) const { ::operator delete[](floats, kLine); }
  };
  std::unique_ptr<float[], Free> floats_;
  int64_t size_ = 0;
};

}  // namespace stoker
