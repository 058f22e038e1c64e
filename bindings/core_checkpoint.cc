// engine/checkpoint for Python: what the driver needs to write manifests and to tell whether a checkpoint is whole.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "bindings/bindings.h"
#include "bindings/bytes.h"
#include "checkpoint/part.h"
#include "checkpoint/storage.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace stoker {
namespace {

nb::dict check_part(const nb::bytes& whole) {
  checkpoint::PartHead head;
  {
    const nb::gil_scoped_release released;
    head = checkpoint::check_part(view(whole));
  }
  nb::dict told;
  told["commit"] = head.commit, told["begin"] = head.range.begin, told["bytes"] = head.range.size();
  told["digest"] = hex(head.digest);
  return told;
}

nb::bytes make_part(uint64_t commit, uint64_t begin, const nb::bytes& payload) {
  const ByteView bytes = view(payload);
  Bytes part = encode(checkpoint::make_head(commit, {begin, begin + bytes.size()}, bytes));
  part.insert(part.end(), bytes.begin(), bytes.end());
  return to_python(part);
}

void put_file(const std::string& folder, const std::string& name, const nb::bytes& bytes) {
  const ByteView whole = view(bytes);
  const nb::gil_scoped_release released;
  checkpoint::make_file_storage(folder)->put(name, {&whole, 1});
}

}  // namespace

void bind_checkpoint(nb::module_& m) {
  m.def("check_part", check_part, "whole"_a, "The part's head; WorldError says what is wrong with a torn one.");
  m.def("make_part", make_part, "commit"_a, "begin"_a, "payload"_a, "For tests: the engine writes its own.");
  m.def("put_file", put_file, "folder"_a, "name"_a, "data"_a, "Whole, for good and under its name, or not at all.");
  m.def(
      "hash128", [](const nb::bytes& bytes) { return hex(hash128(view(bytes))); }, "data"_a, "XXH3-128, as hex.");
}

}  // namespace stoker
