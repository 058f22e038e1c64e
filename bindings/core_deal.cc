// engine/data/deal/deal.h for Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "bindings/arrow_capsules.h"
#include "bindings/bindings.h"
#include "data/deal/deal.h"
#include "data/store/column_store.h"

namespace nb = nanobind;

namespace stoker {
namespace {

using data::Dealer;

void deal_into(const Dealer& dealer, data::ColumnStore& store, nb::handle batch) {
  const ArrowCapsules capsules(batch);
  const auto& array = capsules.array();
  const auto& schema = capsules.schema();
  nb::gil_scoped_release released;
  const auto dealt = dealer.deal(array, schema);
  store.append(dealt->array(), dealt->schema());
}

std::vector<int32_t> shards_of(const Dealer& dealer, nb::handle batch) {
  const ArrowCapsules capsules(batch);
  return dealer.shards_of(capsules.array(), capsules.schema());
}

}  // namespace

void bind_deal(nb::module_& m) {
  nb::class_<Dealer>(m, "Dealer")
      .def(
          "__init__",
          [](Dealer* self, const std::string& spec, const std::vector<int>& owned) {
            new (self) Dealer(data::parse_deal(spec), owned);
          },
          nb::arg("spec_json"), nb::arg("owned"))
      .def("deal_into", deal_into, nb::arg("store"), nb::arg("batch"))
      .def("shards_of", shards_of, nb::arg("batch"));
}

}  // namespace stoker
