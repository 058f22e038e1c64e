#pragma once
// From batches of a Parquet file's columns to what Spark would have handed over of them: columns cast and packed, the
// rows of one worker's shards only. Bit for bit what python/stoker/spark/columns.py has Spark do. Not thread-safe.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/arrow/owned_batch.h"

namespace stoker::data {

/// One column as it crosses, and the file's columns that it is made of.
struct Crossing {
  std::string name;
  std::string type;  // "float", "double", "smallint", "int", "bigint": values are cast to it; empty: as is
  std::vector<std::string> columns;  // of the file
  bool packed = false;               // numbers become one array a row
};

struct DealSpec {
  std::vector<Crossing> columns;
  int shards = 1;
  std::string id;  // column of the file that alone decides the shard; empty: all that cross do
};
/// From {"columns": [{"name", "type", "columns", "packed"}], "shards", "id"}.
DealSpec parse_deal(const std::string& json);

class Dealer {
 public:
  /// `owned` shards in ascending order.
  Dealer(DealSpec spec, const std::vector<int>& owned);
  /// The shard of each row. Columns may hold booleans, signed integers, floats, lists of them, strings and binaries; an
  /// id also decimals up to 18 digits.
  std::vector<int32_t> shards_of(const ArrowArray& batch, const ArrowSchema& schema) const;
  /// The rows that go to the owned shards, in their order, with "__shard" where several are owned.
  std::unique_ptr<OwnedArray> deal(const ArrowArray& batch, const ArrowSchema& schema) const;

 private:
  DealSpec spec_;
  std::vector<bool> owns_;  // by shard
  bool marked_;
};

}  // namespace stoker::data
