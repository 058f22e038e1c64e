#pragma once
// How much memory a store's rows may take, and where the others go.
#include <cstddef>
#include <limits>

#include "data/store/spill_file.h"

namespace stoker::data {

/// Of the memory, a part each goes to the windows of rows that are read ahead; what their index leaves of the rest
/// holds rows.
struct StoreOptions {
  size_t memory = std::numeric_limits<size_t>::max();  // bytes for rows, their index and what is read ahead
  SpillOptions spill;                                  // no folders: rows that need more are an error

  size_t window_bytes() const { return memory / 4; }  // there are two
  size_t rows_bytes() const { return memory / 2; }
};

}  // namespace stoker::data
