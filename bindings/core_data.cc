// engine/data for Python: batches in through the Arrow PyCapsule protocol, rows out as NumPy arrays.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <tuple>

#include "base/error.h"
#include "bindings/arrow_capsules.h"
#include "bindings/bindings.h"
#include "data/read/row_reader.h"
#include "data/spec/exact_moments.h"
#include "data/spec/model_tokenizer.h"
#include "data/spec/piece_tokenizer.h"
#include "data/store/column_store.h"
#include "data/store/plan.h"

namespace nb = nanobind;

namespace stoker {
namespace {

using data::ColumnStore;
using data::DType;
using RowNumbers = nb::ndarray<const uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void append(ColumnStore& store, nb::object batch) {
  const ArrowCapsules capsules(batch);
  const ArrowSchema& schema = capsules.schema();
  const ArrowArray& array = capsules.array();
  nb::gil_scoped_release released;
  store.append(array, schema);
}

nb::dlpack::dtype array_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return nb::dtype<float>();
    case DType::f64:
      return nb::dtype<double>();
    case DType::i32:
      return nb::dtype<int32_t>();
    case DType::i64:
      return nb::dtype<int64_t>();
    case DType::u8:
      return nb::dtype<uint8_t>();
    case DType::u16:
      return nb::dtype<uint16_t>();
  }
  fail_bug("unknown dtype");
}

nb::ndarray<nb::numpy> owned_array(std::unique_ptr<std::byte[]> bytes, const std::vector<size_t>& shape,
                                   nb::dlpack::dtype type) {
  std::byte* values = bytes.release();
  const nb::capsule owner(values, [](void* p) noexcept { delete[] static_cast<std::byte*>(p); });
  return {values, shape.size(), shape.data(), owner, nullptr, type};
}

nb::ndarray<nb::numpy> gather(const ColumnStore& store, int column, const RowNumbers& rows) {
  STOKER_CHECK(column >= 0 && column < static_cast<int>(store.columns().size()));
  for (size_t i = 0; i < rows.size(); ++i) STOKER_CHECK(rows.data()[i] < store.rows());
  const auto& spec = store.columns()[column];
  auto bytes = std::make_unique<std::byte[]>(rows.size() * spec.row_bytes());
  store.gather(column, rows.data(), static_cast<int64_t>(rows.size()), bytes.get());
  std::vector<size_t> shape{rows.size()};
  shape.insert(shape.end(), spec.shape.begin(), spec.shape.end());
  return owned_array(std::move(bytes), shape, array_type(spec.dtype));
}

nb::ndarray<nb::numpy> row_numbers(const std::vector<uint32_t>& rows) {
  auto bytes = std::make_unique<std::byte[]>(rows.size() * sizeof(uint32_t));
  std::copy(rows.begin(), rows.end(), reinterpret_cast<uint32_t*>(bytes.get()));
  return owned_array(std::move(bytes), {rows.size()}, nb::dtype<uint32_t>());
}

std::vector<std::tuple<int, int64_t, uint64_t, uint64_t>> shard_rows(const ColumnStore& store) {
  std::vector<std::tuple<int, int64_t, uint64_t, uint64_t>> all;
  for (const auto& shard : store.shard_rows())
    all.emplace_back(shard.shard, shard.rows, shard.digest.high, shard.digest.low);
  return all;
}

void bind_store(nb::module_& m) {
  nb::class_<ColumnStore>(m, "ColumnStore")
      .def(
          "__init__",
          [](ColumnStore* self, const std::string& columns, std::vector<int> shards, int partition, bool skip_bad,
             std::optional<size_t> memory, std::vector<std::string> folders, bool encrypt) {
            const auto on_bad_row = skip_bad ? data::OnBadRow::skip : data::OnBadRow::error;
            data::StoreOptions options;
            options.memory = memory.value_or(options.memory);
            options.spill.folders = std::move(folders);
            options.spill.encrypt = encrypt;
            new (self) ColumnStore(data::parse_columns(columns), std::move(shards), partition, on_bad_row, options);
          },
          nb::arg("columns_json"), nb::arg("shards"), nb::arg("partition"), nb::arg("skip_bad") = false,
          nb::arg("memory") = nb::none(), nb::arg("folders") = std::vector<std::string>(), nb::arg("encrypt") = false)
      .def("append", append, nb::arg("batch"))
      .def("seal", &ColumnStore::seal, nb::call_guard<nb::gil_scoped_release>())
      .def("rows", &ColumnStore::rows)
      .def("bytes", &ColumnStore::bytes)
      .def("disk_bytes", &ColumnStore::disk_bytes)
      .def("skipped", &ColumnStore::skipped)
      .def("shard_rows", shard_rows)
      .def(
          "order", [](const ColumnStore& store, int shard) { return row_numbers(store.order(shard)); },
          nb::arg("shard"))
      .def("gather", gather, nb::arg("column"), nb::arg("rows"));
}

/// Batches of one partition to one array a column, for inference.
class TensorReader {
 public:
  TensorReader(const std::string& columns, int partition)
      : reader_(data::parse_columns(columns)), partition_(partition) {}

  std::vector<nb::ndarray<nb::numpy>> read(nb::object batch) {
    const ArrowCapsules capsules(batch);
    const ArrowSchema& schema = capsules.schema();
    const ArrowArray& array = capsules.array();
    std::vector<std::unique_ptr<std::byte[]>> tensors;
    {
      nb::gil_scoped_release released;
      tensors = read_all(array, schema);
    }
    return as_arrays(std::move(tensors), static_cast<size_t>(array.length));
  }

 private:
  std::vector<std::unique_ptr<std::byte[]>> read_all(const ArrowArray& array, const ArrowSchema& schema) {
    data::check_batch(array, schema, partition_);
    data::Faults faults({partition_, row_}, array.length, false);
    auto readers = reader_.open(array, schema, faults);
    std::vector<std::unique_ptr<std::byte[]>> tensors;
    for (int c = 0; c < static_cast<int>(reader_.columns().size()); ++c) {
      tensors.emplace_back(new std::byte[array.length * reader_.columns()[c].row_bytes()]);
      reader_.read_tensor(readers, c, 0, array.length, tensors.back().get());
    }
    row_ += array.length;
    return tensors;
  }

  std::vector<nb::ndarray<nb::numpy>> as_arrays(std::vector<std::unique_ptr<std::byte[]>> tensors, size_t rows) const {
    std::vector<nb::ndarray<nb::numpy>> arrays;
    for (size_t c = 0; c < tensors.size(); ++c) {
      const auto& spec = reader_.columns()[c];
      std::vector<size_t> shape{rows};
      shape.insert(shape.end(), spec.shape.begin(), spec.shape.end());
      arrays.push_back(owned_array(std::move(tensors[c]), shape, array_type(spec.dtype)));
    }
    return arrays;
  }

  data::RowReader reader_;
  int partition_;
  int64_t row_ = 0;
};

void bind_reader(nb::module_& m) {
  nb::class_<TensorReader>(m, "TensorReader")
      .def(nb::init<const std::string&, int>(), nb::arg("columns_json"), nb::arg("partition"))
      .def("read", &TensorReader::read, nb::arg("batch"));
}

using Table = nb::ndarray<const double, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Limbs = std::tuple<int64_t, std::vector<int64_t>>;

std::vector<std::tuple<int64_t, Limbs, Limbs>> totals(const data::ExactMoments& moments) {
  const auto limbs = [](const data::BigSum& sum) { return Limbs(sum.first, sum.limbs); };
  std::vector<std::tuple<int64_t, Limbs, Limbs>> all;
  for (const auto& column : moments.totals()) all.emplace_back(column.count, limbs(column.sum), limbs(column.squares));
  return all;
}

void bind_moments(nb::module_& m) {
  nb::class_<data::ExactMoments>(m, "ExactMoments")
      .def(nb::init<int64_t>(), nb::arg("columns"))
      .def(
          "add",
          [](data::ExactMoments& moments, const Table& rows) {
            moments.add({rows.data(), rows.size()});
          },
          nb::arg("rows"))
      .def("totals", totals, "Of each column: the count, sum and sum of squares as (first limb, limbs of 32 bits).");
}

void bind_plan(nb::module_& m) {
  nb::class_<data::Plan>(m, "Plan")
      .def(nb::init<std::vector<int64_t>, int64_t>(), nb::arg("counts"), nb::arg("batch_size"))
      .def("steps", &data::Plan::steps)
      .def(
          "rows",
          [](const data::Plan& plan, int64_t step, int shard) {
            STOKER_CHECK(step >= 0 && step < plan.steps() && shard >= 0 && shard < plan.shards());
            const auto rows = plan.rows(step, shard);
            return std::tuple(rows.begin, rows.end);
          },
          nb::arg("step"), nb::arg("shard"));
  m.def(
      "count_pieces",
      [](const nb::bytes& model, bool begin, bool end) {
        return data::count_pieces({model.c_str(), model.size()}, begin, end);
      },
      nb::arg("model"), nb::arg("begin"), nb::arg("end"),
      "Pieces of a SentencePiece model, its file's content. UserError where it is none, or lacks begin or end.");
  m.def(
      "count_tokens",
      [](const nb::bytes& description, bool begin, bool end) {
        return data::count_tokens({description.c_str(), description.size()}, begin, end);
      },
      nb::arg("description"), nb::arg("begin"), nb::arg("end"),
      "One more than the largest number of a tokenizer (engine/text/tokenizer.h). UserError where it is none, or lacks "
      "begin or end.");
  m.def(
      "epoch_order",
      [](int64_t n, uint64_t seed, uint64_t epoch, int shard, bool shuffle) {
        return row_numbers(data::epoch_order(n, seed, epoch, shard, shuffle));
      },
      nb::arg("n"), nb::arg("seed"), nb::arg("epoch"), nb::arg("shard"), nb::arg("shuffle") = true);
}

}  // namespace

void bind_data(nb::module_& m) {
  bind_store(m);
  bind_reader(m);
  bind_moments(m);
  bind_plan(m);
}

}  // namespace stoker
