#include "program/format.h"

#include <gtest/gtest.h>

#include "program/test_programs.h"

namespace stoker::program {
namespace {

Json small() {
  Writer w;
  const int x = w.input("x", "feature", {2});
  const int p = w.parameter("w", {3, 2});
  const int y = w.node("aten.linear.default", {slot(x), slot(p)});
  return w.output(y).train(w.node("aten.sum.default", {slot(y)}));
}

std::string parse_error(const Json& json) {
  return user_error([&] { parse_program(json.dump()); });
}

Json changed(const char* pointer, const Json& value) {
  auto json = small();
  json[Json::json_pointer(pointer)] = value;
  return json;
}

TEST(Format, ReadsWhatIsThere) {
  const auto program = parse_program(small().dump());
  EXPECT_TRUE(program.train);
  ASSERT_EQ(program.nodes.size(), 2U);
  EXPECT_EQ(program.nodes[1].op, "aten.sum.default");
  EXPECT_EQ(program.parameters[0].shape, (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(program.loss.denominator, -1);
  EXPECT_EQ(program.loss.per_row, 1.0);
  EXPECT_FALSE(program.metric);
}

TEST(Format, UnknownFieldsAreLeftAlone) { EXPECT_EQ(parse_error(changed("/notes", "made by hand")), ""); }

TEST(Format, TruncatedAnywhere) {
  const auto text = small().dump();
  for (size_t n = 0; n < text.size(); ++n) {
    EXPECT_NE(user_error([&] { parse_program(text.substr(0, n)); }), "") << n;
  }
}

TEST(Format, ForeignFiles) {
  EXPECT_TRUE(has(parse_error(Json::array()), "not a Stoker program"));
  EXPECT_TRUE(has(parse_error({{"format", "onnx"}}), "not a Stoker program"));
  EXPECT_TRUE(has(parse_error(changed("/nodes/0/autocast", "float16")), "\"autocast\" cannot be \"float16\""));
  EXPECT_TRUE(has(parse_error(changed("/version", 3)), "format version 3; this build reads versions 1 to 2"));
  EXPECT_TRUE(has(parse_error(changed("/kind", "test")), "\"kind\" cannot be \"test\""));
}

TEST(Format, ProgramsThatAskForTooMuchAreRefused) {
  EXPECT_TRUE(has(parse_error(changed("/slots", 1 << 30)), "has 1073741824 slots"));
  EXPECT_TRUE(has(parse_error(changed("/slots", int64_t{1} << 32)), "field \"slots\" has the wrong type"));
  const auto huge = Json::array({int64_t{1} << 40, int64_t{1} << 40});
  EXPECT_TRUE(has(parse_error(changed("/parameters/0/shape", huge)), "parameters[0]: the shape is too large"));
  EXPECT_TRUE(has(parse_error(changed("/nodes/0/out/0", int64_t{1} << 32)), "holds something that is no slot"));
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_TRUE(has(user_error([&] { parse_program(deep); }), "nested deeper than 64 levels"));
}

TEST(Format, MissingFieldsAndWrongTypesSayWhere) {
  auto json = small();
  json["nodes"][1].erase("where");
  EXPECT_TRUE(has(parse_error(json), "nodes[1]: field \"where\" is missing"));
  EXPECT_TRUE(has(parse_error(changed("/inputs/0/shape", "2")), "inputs[0]: field \"shape\" has the wrong type"));
  EXPECT_TRUE(has(parse_error(changed("/slots", "many")), "field \"slots\" has the wrong type"));
  EXPECT_TRUE(has(parse_error(changed("/inputs/0/role", "spare")), "\"role\" cannot be \"spare\""));
  EXPECT_TRUE(has(parse_error(changed("/parameters/0", 3)), "parameters[0] is not an object"));
  EXPECT_TRUE(has(parse_error(changed("/loss/denominator", Json::object())), "\"rows\" is missing"));
}

TEST(Format, SlotsOutOfOrder) {
  EXPECT_TRUE(has(parse_error(changed("/nodes/0/args/0/slot", 3)), "node 0 (aten.linear.default) reads slot 3 before"));
  EXPECT_TRUE(has(parse_error(changed("/nodes/1/out/0", 0)), "writes slot 0, which is written already"));
  EXPECT_TRUE(has(parse_error(changed("/nodes/1/out/0", 9)), "names slot 9 of a program with 4 slots"));
  EXPECT_TRUE(has(parse_error(changed("/loss/numerator", -2)), "the loss names slot -2"));
}

}  // namespace
}  // namespace stoker::program
