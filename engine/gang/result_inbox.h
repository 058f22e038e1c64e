#pragma once
// Puts a result together from its chunks. Used by one thread.
#include <string>

#include "gang/protocol.h"

namespace stoker::gang {

class ResultInbox {
 public:
  /// Throws Error(world) when there is no memory for it.
  explicit ResultInbox(const ResultBegin& begin);
  /// Throws Error(world) for more bytes than were announced, and for a whole that is not what was announced.
  void add(ByteView chunk);
  bool whole() const { return weights_.size() == begin_.weights && history_.size() == begin_.history; }
  const Hash128& digest() const { return begin_.digest; }
  Bytes take_weights() { return std::move(weights_); }
  std::string take_history() { return std::move(history_); }

 private:
  ResultBegin begin_;
  Bytes weights_;
  std::string history_;
};

}  // namespace stoker::gang
