#include "train/spec.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"

namespace stoker::train {
namespace {

nlohmann::json spec() {
  return nlohmann::json::parse(R"({
    "program": {"format": "stoker-program"}, "optimizer": {"name": "sgd", "groups": [{"lr": 0.5}]},
    "columns": [{"name": "x", "shown": "x", "dtype": "float32", "shape": [3]}],
    "batch_size": 7, "epochs": 2, "seed": 5, "shuffle": false, "shards": 3, "threads": 1})");
}

std::string refusal(const nlohmann::json& json) {
  try {
    parse_spec(json.dump());
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::user);
    return error.what();
  }
  return "none";
}

}  // namespace

TEST(Spec, FieldsLandWhereTheyBelong) {
  const auto s = parse_spec(spec().dump());
  EXPECT_EQ(std::tuple(s.batch_size, s.epochs, s.seed, s.shuffle, s.shards), std::tuple(7, 2, 5u, false, 3));
  EXPECT_EQ(s.optimizer.groups.at(0).lr, 0.5);
  EXPECT_EQ(s.columns.at(0).shape, (std::vector<int64_t>{3}));
  EXPECT_EQ(s.on_nan, OnNaN::error);
}

TEST(Spec, EveryFieldThatIsNeededIsMissed) {
  for (const auto* field :
       {"program", "optimizer", "columns", "batch_size", "epochs", "seed", "shuffle", "shards", "threads"}) {
    auto json = spec();
    json.erase(field);
    EXPECT_NE(refusal(json).find(field), std::string::npos) << field;
  }
}

TEST(Spec, TheLongestWindowIsARoundOfItsOwn) {
  auto json = spec();
  json["strategy"] = {{"window", std::numeric_limits<int64_t>::max()},
                      {"inner_state", "keep"},
                      {"push", {{"rule", "downpour"}}},
                      {"order", "arrival"}};
  const auto longest = parse_spec(json.dump()).strategy;
  EXPECT_EQ(longest.every, longest.window);
  EXPECT_GT(longest.every, int64_t{1} << 32);
  json["strategy"]["window"] = 5;
  EXPECT_EQ(parse_spec(json.dump()).strategy.every, 65);
}

TEST(Spec, WrongTypesAndChoicesAreRefused) {
  auto json = spec();
  json["epochs"] = "many";
  EXPECT_NE(refusal(json), "none");
  json = spec();
  json["on_nan"] = "ignore";
  EXPECT_NE(refusal(json).find("onNaN must be 'error', 'continue' or 'skip', not 'ignore'"), std::string::npos);
  EXPECT_THROW(parse_spec("{"), Error);
}

}  // namespace stoker::train
