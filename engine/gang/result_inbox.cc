#include "gang/result_inbox.h"

#include <algorithm>

namespace stoker::gang {

ResultInbox::ResultInbox(const ResultBegin& begin) : begin_(begin) {
  try {
    weights_.reserve(begin.weights);
    history_.reserve(begin.history);
  } catch (const std::exception&) {
    fail_world("no memory for a result of ", begin.weights, " + ", begin.history, " bytes");
  }
}

void ResultInbox::add(ByteView chunk) {
  const ByteView weights = chunk.first(std::min<size_t>(chunk.size(), begin_.weights - weights_.size()));
  const ByteView history = chunk.subspan(weights.size());
  if (history.size() > begin_.history - history_.size()) fail_world("the result is longer than announced");
  weights_.insert(weights_.end(), weights.begin(), weights.end());
  history_ += to_string(history);
  if (whole() && result_digest(weights_, history_) != begin_.digest) fail_world("the result arrived damaged");
}

}  // namespace stoker::gang
