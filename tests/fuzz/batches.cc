// A record batch whose buffers and lengths are spoilt: the first byte chooses the column, the others are edits. What
// pyarrow looks at before it hands a batch over stays true: buffers are as long as lengths and last offsets say.
#include "batches.h"

#include <cstring>

#include "data/deal/deal.h"
#include "data/read/row_reader.h"
#include "fuzz.h"

namespace stoker::fuzz {
namespace {

using data::testing::Column;

/// One byte for the array, one for what of it, one for where, four for the value.
constexpr size_t kEdit = 7;

void collect(Column& column, std::vector<Column*>& all) {
  all.push_back(&column);
  for (auto& child : column.children) collect(*child, all);
  if (column.dictionary) collect(*column.dictionary, all);
}

void edit(Column& column, uint8_t what, uint8_t where, int32_t value) {
  ArrowArray& array = column.array;
  const int64_t entries = array.offset + array.length;
  if (what % 8 == 0) {
    array.length = value & 0xff ? std::min<int64_t>(array.length, where % 8) : array.length;
  } else if (what % 8 == 1) {
    array.offset = where % (entries + 1);
    array.length = std::min(array.length, entries - array.offset);
  } else if (!column.memory.empty()) {
    auto& buffer = column.memory[what / 8 % column.memory.size()];
    const size_t width = size_t{1} << (what % 8 % 4);  // 1, 2, 4 or 8 bytes
    if (buffer.size() < width) return;
    const int64_t wide = value;
    std::memcpy(buffer.data() + where * width % (buffer.size() - width + 1), &wide, width);
  }
}

template <typename O>
void shorten(Column& column) {
  O last;
  std::byte* at =
      column.memory[column.memory.size() - 2].data() + (column.array.offset + column.array.length) * sizeof(O);
  std::memcpy(&last, at, sizeof(O));
  last = std::min(last, static_cast<O>(column.memory.back().size()));
  std::memcpy(at, &last, sizeof(O));
}

void spoil(Case& tried, ByteView edits) {
  std::vector<Column*> arrays;
  collect(*tried.rows, arrays);
  for (; edits.size() >= kEdit; edits = edits.subspan(kEdit)) {
    const auto at = [&](size_t i) { return std::to_integer<uint8_t>(edits[i]); };
    int32_t value;
    std::memcpy(&value, edits.data() + 3, sizeof value);
    edit(*arrays[at(0) % arrays.size()], at(1), at(2), value);
  }
  for (Column* column : arrays) {
    if (column->format == "u" || column->format == "z") shorten<int32_t>(*column);
    if (column->format == "U") shorten<int64_t>(*column);
  }
}

template <typename Body>
void user_errors_only(Body body) {
  try {
    body();
  } catch (const Error& error) {
    require(error.kind() == ErrorKind::user);
  }
}

/// As training stores rows, and as inference reads them.
void read(const data::ColumnSpec& spec, const ArrowArray& batch, const ArrowSchema& schema, bool skip) {
  data::check_batch(batch, schema, 0);
  const data::RowReader reader({spec});
  data::Faults faults({0, 0}, batch.length, skip);
  auto readers = reader.open(batch, schema, faults);
  std::vector<std::byte> rows(batch.length * reader.stride());
  reader.read(readers, 0, batch.length, rows.data());
  std::vector<std::byte> tensor(batch.length * reader.columns()[0].row_bytes());
  reader.read_tensor(readers, 0, 0, batch.length, tensor.data());
}

void deal(const data::ColumnSpec& spec, const Column& batch) {
  const data::Dealer dealer({{{"x", "", {"x"}, false}}, 3, ""}, {0});
  const auto dealt = dealer.deal(batch.array, batch.schema);
  read(spec, dealt->array(), dealt->schema(), true);
}

}  // namespace
}  // namespace stoker::fuzz

FUZZ_TARGET(input) {
  using namespace stoker::fuzz;
  if (input.empty()) return;
  const int first = std::to_integer<int>(input[0]);
  const stoker::ByteView edits = input.subspan(1);
  const std::string file(reinterpret_cast<const char*>(edits.data()), edits.size());
  Case tried = case_of(first % 128 % kCases, {file, "", file.substr(0, file.size() / 2), "?", file});
  spoil(tried, edits);
  const int64_t rows = tried.rows->array.length + first / 128;  // or more than there are
  const auto batch = stoker::data::testing::batch(rows, 0, std::move(tried.rows));
  for (const bool skip : {false, true}) user_errors_only([&] { read(tried.spec, batch->array, batch->schema, skip); });
  if (tried.dealt) user_errors_only([&] { deal(tried.spec, *batch); });
}
