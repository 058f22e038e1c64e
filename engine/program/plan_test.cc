#include "program/plan.h"

#include <gtest/gtest.h>

#include "base/pulse.h"
#include "program/test_programs.h"

namespace stoker::program {
namespace {

std::string plan_error(const Json& json) {
  return user_error([&] { Plan(parse_program(json.dump())); });
}

// The value of the last output of a program of one input.
Slots run(const Writer& writer, const at::Tensor& x) {
  const auto program = parse_program(writer.infer().dump());
  const Plan plan(program);
  Slots slots(plan.slots());
  slots[0] = x;
  pulse::Pulse pulse;
  const pulse::Work work(pulse);
  const uint64_t before = pulse.read().beats;
  plan.run(slots, RandomKey{});
  EXPECT_EQ(pulse.read().beats - before, program.nodes.size());
  return slots;
}

std::string one_node_error(const std::string& op, const Arguments& args, const Json& kwargs = Json::object()) {
  Writer w;
  w.input("x", "feature", {2});
  w.node(op, args, kwargs);
  return plan_error(w.infer());
}

TEST(Plan, UnknownOperatorNamesThePlace) {
  EXPECT_TRUE(
      has(one_node_error("aten.linaer.default", {}), "node 0, aten.linaer.default, at layer0: this build of torch"));
  EXPECT_TRUE(has(one_node_error("aten.add.Tensors", {}), "no such operator"));
  EXPECT_TRUE(has(one_node_error("linear", {}), "names no operator"));
}

TEST(Plan, ProgramsReachNoFilesNoStorageAndNoOtherLibraries) {
  const auto refused = "programs may not name this operator";
  EXPECT_TRUE(has(one_node_error("aten.from_file.default", {"/etc/passwd", false, 256}), refused));
  EXPECT_TRUE(has(one_node_error("aten.resize_.default", {slot(0), {1 << 20}}), refused));
  EXPECT_TRUE(has(one_node_error("aten.set_.source_Tensor", {slot(0), slot(0)}), refused));
  EXPECT_TRUE(has(one_node_error("aten._reshape_alias.default", {slot(0), {9}, {1}}), refused));
  EXPECT_TRUE(has(one_node_error("aten.add.out", {slot(0), slot(0)}), refused));
  EXPECT_TRUE(has(one_node_error("prims.add.default", {slot(0), slot(0)}), "operator"));
  EXPECT_TRUE(has(one_node_error("aten.gelu.default", {slot(0)}, {{"approximate", "/etc/passwd"}}),
                  "no text that a program may give"));
}

TEST(Plan, TextsOfTheListAndEquationsAreTaken) {
  EXPECT_EQ(one_node_error("aten.div.Tensor_mode", {slot(0), slot(0), "floor"}), "");
  EXPECT_EQ(one_node_error("aten.einsum.default", {"bi, bi -> b", {slot(0), slot(0)}}), "");
}

TEST(Plan, MemoryThatNobodyHasWrittenIsZero) {
  Writer w;
  w.input("x", "feature", {2});
  const int fresh = w.node("aten.empty_like.default", {slot(0)});
  w.output(fresh);
  for (int i = 0; i < 20; ++i) {
    { const auto dirt = at::full({300, 2}, 7.0); }
    EXPECT_EQ(run(w, at::zeros({300, 2}))[fresh].toTensor().count_nonzero().item<int64_t>(), 0);
  }
}

TEST(Plan, WrongArgumentsNameThePlace) {
  EXPECT_TRUE(has(one_node_error("aten.relu.default", {}), "at layer0: argument self is missing"));
  EXPECT_TRUE(has(one_node_error("aten.relu.default", {slot(0), 1}), "takes 1 arguments, and 2 are given"));
  EXPECT_TRUE(has(one_node_error("aten.relu.default", {slot(0)}, {{"inplace", true}}), "there is no argument inplace"));
  EXPECT_TRUE(has(one_node_error("aten.relu.default", {slot(0)}, {{"self", slot(0)}}), "argument self is given twice"));
  EXPECT_TRUE(has(one_node_error("aten.dropout.default", {slot(0), "half", true}), "argument p: \"half\" is no float"));
  EXPECT_TRUE(has(one_node_error("aten.relu.default", {nullptr}), "argument self: null is no Tensor"));
  EXPECT_TRUE(has(one_node_error("aten.permute.default", {slot(0), {0, "a"}}), "argument dims: \"a\" is no int"));
  EXPECT_TRUE(
      has(one_node_error("aten.zeros_like.default", {slot(0)}, {{"dtype", {{"dtype", "float31"}}}}), "no dtype"));
  EXPECT_TRUE(has(one_node_error("aten.zeros_like.default", {slot(0)}, {{"device", {{"device", "cuda"}}}}), "device"));
  EXPECT_TRUE(has(one_node_error("sym.add", {1}), "takes 2 positional arguments"));
}

TEST(Plan, NumbersForTensorsAreWrapped) {
  Writer w;
  w.input("x", "feature", {2});
  const int scaled = w.node("aten.mul.Tensor", {slot(0), 0.5});
  const int size = w.node("sym.size", {slot(0), 0});
  const int divided = w.node("aten.div.Tensor", {slot(scaled), slot(size)});
  w.output(divided);
  const auto result = run(w, at::ones({4, 2}))[divided].toTensor();
  EXPECT_EQ(result.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(result, at::full({4, 2}, 0.125F)));
}

TEST(Plan, ShapesMixNumbersAndSlots) {
  Writer w;
  w.input("x", "feature", {2, 3});
  const int rows = w.node("sym.size", {slot(0), 0});
  const int doubled = w.node("sym.mul", {slot(rows), 2});
  const int viewed = w.node("aten.view.default", {slot(0), {slot(doubled), 3}});
  w.output(viewed);
  EXPECT_EQ(run(w, at::zeros({5, 2, 3}))[viewed].toTensor().sizes(), at::IntArrayRef({10, 3}));
  EXPECT_EQ(run(w, at::zeros({0, 2, 3}))[viewed].toTensor().sizes(), at::IntArrayRef({0, 3}));
}

TEST(Plan, ListsOfTensorsGoInAndOut) {
  Writer w;
  w.input("x", "feature", {6});
  const auto parts = w.nodes("aten.split.Tensor", {slot(0), 2, -1}, 3);
  const int joined = w.node("aten.cat.default", {{slot(parts[2]), slot(parts[0])}, 1});
  w.output(joined);
  const auto x = at::arange(12, at::kFloat).view({2, 6});
  EXPECT_TRUE(at::equal(run(w, x)[joined].toTensor(), at::cat({x.slice(1, 4, 6), x.slice(1, 0, 2)}, 1)));
}

TEST(Plan, IndicesMayBeMissing) {
  Writer w;
  w.input("x", "feature", {3});
  const int index =
      w.node("aten.arange.default", {2}, {{"dtype", {{"dtype", "int64"}}}, {"device", {{"device", "cpu"}}}});
  const int picked = w.node("aten.index.Tensor", {slot(0), {nullptr, slot(index)}});
  w.output(picked);
  const auto x = at::arange(6, at::kFloat).view({2, 3});
  EXPECT_TRUE(at::equal(run(w, x)[picked].toTensor(), x.slice(1, 0, 2)));
}

TEST(Plan, ShapeArithmeticFollowsPython) {
  const auto value = [](const std::string& op, const Arguments& args) {
    Writer w;
    w.input("x", "feature", {});
    const int result = w.node(op, args);
    w.output(result);
    return run(w, at::zeros(1))[result].toScalar().toDouble();
  };
  EXPECT_EQ(value("sym.floordiv", {-7, 2}), -4);
  EXPECT_EQ(value("sym.mod", {-7, 2}), 1);
  EXPECT_EQ(value("sym.floordiv", {7, -2}), -4);
  EXPECT_EQ(value("sym.mod", {7, -2}), -1);
  EXPECT_EQ(value("sym.truediv", {7, 2}), 3.5);
  EXPECT_EQ(value("sym.int", {-3.7}), -3);
  EXPECT_EQ(value("sym.max", {3, 5}), 5);
  EXPECT_EQ(value("sym.neg", {3}), -3);
}

TEST(Plan, ValuesAreDroppedAtTheirLastUse) {
  Writer w;
  w.input("x", "feature", {2});
  const int a = w.node("aten.relu.default", {slot(0)});
  const int b = w.node("aten.mul.Tensor", {slot(a), slot(a)});
  const int unread = w.node("aten.neg.default", {slot(b)});
  w.output(b);
  const auto x = at::ones({3, 2});
  const auto slots = run(w, x);
  EXPECT_TRUE(slots[0].isNone() && slots[a].isNone() && slots[unread].isNone());
  EXPECT_TRUE(slots[b].isTensor());
  EXPECT_EQ(x.use_count(), 1U);
}

TEST(Plan, ErrorsAtRunTimeNameThePlace) {
  Writer w;
  w.input("x", "feature", {2});
  w.output(w.node("aten.mm.default", {slot(0), slot(0)}));
  const auto text = user_error([&] { run(w, at::zeros({3, 2})); });
  EXPECT_TRUE(has(text, "layer0 (aten.mm.default): mat1 and mat2 shapes cannot be multiplied (3x2 and 3x2)")) << text;
  EXPECT_FALSE(has(text, "frame #")) << text;
}

TEST(Plan, TooFewResults) {
  Writer w;
  w.input("x", "feature", {4});
  const auto parts = w.nodes("aten.split.Tensor", {slot(0), 2, -1}, 3);
  w.output(parts[2]);
  EXPECT_TRUE(has(user_error([&] { run(w, at::zeros({2, 4})); }), "gives 2 results, and the program names 3"));
}

}  // namespace
}  // namespace stoker::program
