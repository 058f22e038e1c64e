#pragma once
// The program as it is written down: docs/formats/program.md has the grammar. Plain data; nothing is resolved yet.
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace stoker::program {

struct Input {
  std::string name;
  std::string role;  // "feature", "label", "weight"
  int slot = 0;
  std::string dtype;
  std::vector<int64_t> shape;  // of one row
};

struct Parameter {
  std::string name;
  int slot = 0;
  std::vector<int64_t> shape;
  std::vector<std::string> aliases;
  std::vector<int> layout;  // see optim::ParameterSpec
};

enum class BufferRule { mean, count };
struct Buffer {
  std::string name;
  int slot = 0;
  std::string dtype;
  std::vector<int64_t> shape;
  BufferRule rule = BufferRule::mean;
};

struct Constant {
  std::string name;
  int slot = 0;
  std::string dtype;
  std::vector<int64_t> shape;
};

/// One operator. Arguments stay JSON until the loader knows the operator's schema.
struct Node {
  std::string op;
  std::vector<nlohmann::json> args;
  std::vector<std::pair<std::string, nlohmann::json>> kwargs;
  std::vector<int> out;  // -1 where nobody reads
  std::string where;
  bool autocast = false;  // it is of mixed precision
};

struct Output {
  std::string name;
  int slot = 0;
};

/// The denominator is a slot, or so much for each row of the micro-batch.
struct Loss {
  int numerator = 0;
  int denominator = -1;
  double per_row = 0;  // where denominator is -1
};

enum class MetricKind { argmax, sign, half, values };  // values: of evaluation programs, nothing is right or wrong
struct Metric {
  MetricKind kind = MetricKind::argmax;
  int output = 0;
  int label = 0;
  int weight = -1;
  int group = -1;  // of evaluation programs
};

/// A user's metric: two numbers that add up over rows, and of which it is the ratio.
struct OwnMetric {
  std::string name;
  int numerator = 0;  // slots
  int denominator = 0;
};

struct Program {
  bool train = false;     // else it is run without gradients
  bool has_loss = false;  // kinds "train" and "eval"
  std::string torch;
  std::vector<Input> inputs;
  std::vector<Parameter> parameters;
  std::vector<Buffer> buffers;
  std::vector<Constant> constants;
  int slots = 0;
  std::vector<Node> nodes;
  std::vector<Output> outputs;
  bool coupled = false;  // a row's outputs depend on the rows beside it: they cannot be run apart
  int64_t widest = 0;    // values that the largest tensor has for one row; 0: not known
  Loss loss;
  std::optional<Metric> metric;
  std::vector<OwnMetric> sums;  // of evaluation programs
};

/// Throws Error(user) on text that is foreign, truncated or of another version, on missing fields and wrong types, and
/// on slots that are out of range, written twice or read before they are written.
Program parse_program(const std::string& json);

/// Slots that a node's argument reads, in order.
std::vector<int> slots_in(const nlohmann::json& value);

int64_t elements(const std::vector<int64_t>& shape);

}  // namespace stoker::program
