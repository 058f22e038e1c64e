#pragma once
// A text's numbers between those that stand for its begin and its end.
#include <algorithm>
#include <cstdint>
#include <vector>

namespace stoker::data {

/// Appends at most `most` numbers: `begin`, what inside(count) appends, which is at most `count`, and `end`, also where
/// the text is cut.
template <typename Inside>
void put_surrounded(const std::vector<int64_t>& begin, const std::vector<int64_t>& end, size_t most,
                    std::vector<int64_t>& out, Inside inside) {
  const size_t before = out.size();
  out.insert(out.end(), begin.begin(), begin.end());
  inside(most - std::min(most, begin.size() + end.size()));
  out.insert(out.end(), end.begin(), end.end());
  out.resize(std::min(out.size(), before + most));
}

}  // namespace stoker::data
