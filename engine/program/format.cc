#include "program/format.h"

#include <utility>

#include "base/error.h"
#include "base/whole.h"

namespace stoker::program {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 2;                          // the newest; 2 has nodes of mixed precision
constexpr int kMostDepth = 64;                       // of JSON in JSON
constexpr int kMostSlots = 1 << 22;                  // each is there before anything runs
constexpr int64_t kMostElements = int64_t{1} << 48;  // of one shape

/// Functions that follow the nesting would run out of stack.
bool check_depth(int depth, Json::parse_event_t, Json&) {
  if (depth > kMostDepth) fail_user("the program is nested deeper than ", kMostDepth, " levels");
  return true;
}

// A JSON object together with its place in the program, for messages.
class Reader {
 public:
  Reader(const Json& json, std::string place) : json_(json), place_(std::move(place)) {
    if (!json.is_object()) fail_user(place_, " is not an object");
  }

  template <typename T>
  T get(const char* field) const {
    const auto& value = at(field);
    if (!fits<T>(value)) fail_user(place_, ": field \"", field, "\" has the wrong type: ", shown(value));
    return value.get<T>();
  }
  const Json& at(const char* field) const {
    const auto found = json_.find(field);
    if (found == json_.end()) fail_user(place_, ": field \"", field, "\" is missing");
    return *found;
  }
  bool has(const char* field) const { return json_.contains(field); }
  Reader object(const char* field) const { return {at(field), place_ + ": field \"" + field + "\""}; }
  template <typename Read>
  auto list(const char* field, Read read) const {
    std::vector<decltype(read(*this))> items;
    const auto& array = at(field);
    if (!array.is_array()) fail_user(place_, ": field \"", field, "\" is not a list");
    for (size_t i = 0; i < array.size(); ++i) items.push_back(read(Reader(array[i], cat(field, "[", i, "]"))));
    return items;
  }
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    fail_user(place_, ": ", parts...);
  }

 private:
  template <typename T>
  static bool fits(const Json& v) {
    if constexpr (std::is_same_v<T, bool>)
      return v.is_boolean();
    else if constexpr (std::is_same_v<T, double>)
      return v.is_number();
    else if constexpr (std::is_integral_v<T>)
      return is_whole<T>(v);
    else if constexpr (std::is_same_v<T, std::string>)
      return v.is_string();
    else
      return v.is_array() && std::ranges::all_of(v, [](auto& x) { return fits<typename T::value_type>(x); });
  }
  static std::string shown(const Json& value) { return value.dump().substr(0, 60); }

  const Json& json_;
  std::string place_;
};

template <typename T>
T pick(const Reader& at, const char* field, std::initializer_list<std::pair<const char*, T>> choices) {
  const auto text = at.get<std::string>(field);
  for (const auto& [name, value] : choices) {
    if (text == name) return value;
  }
  at.fail("field \"", field, "\" cannot be \"", text, "\"");
}

std::vector<int64_t> read_shape(const Reader& at) {
  auto shape = at.get<std::vector<int64_t>>("shape");
  for (const auto n : shape) {
    if (n < 0) at.fail("a dimension of the shape is negative");
  }
  int64_t product = 1;
  for (const auto n : shape)
    if (__builtin_mul_overflow(product, n, &product) || product > kMostElements) at.fail("the shape is too large");
  return shape;
}

Input read_input(const Reader& at) {
  return {at.get<std::string>("name"),
          pick<std::string>(at, "role",
                            {{"feature", "feature"}, {"label", "label"}, {"weight", "weight"}, {"group", "group"}}),
          at.get<int>("slot"), at.get<std::string>("dtype"), read_shape(at)};
}

Parameter read_parameter(const Reader& at) {
  return {at.get<std::string>("name"), at.get<int>("slot"), read_shape(at), at.get<std::vector<std::string>>("aliases"),
          at.has("layout") ? at.get<std::vector<int>>("layout") : std::vector<int>()};
}

Buffer read_buffer(const Reader& at) {
  const auto rule = pick<BufferRule>(at, "rule", {{"mean", BufferRule::mean}, {"count", BufferRule::count}});
  Buffer buffer{at.get<std::string>("name"), at.get<int>("slot"), at.get<std::string>("dtype"), read_shape(at), rule};
  const char* wanted = rule == BufferRule::mean ? "float32" : "int64";
  if (buffer.dtype != wanted) at.fail("a buffer of this rule is ", wanted, ", not ", buffer.dtype);
  return buffer;
}

Constant read_constant(const Reader& at) {
  return {at.get<std::string>("name"), at.get<int>("slot"), at.get<std::string>("dtype"), read_shape(at)};
}

Node read_node(const Reader& at) {
  Node node;
  node.op = at.get<std::string>("op");
  node.where = at.get<std::string>("where");
  const auto& args = at.at("args");
  const auto& kwargs = at.at("kwargs");
  const auto& out = at.at("out");
  if (!args.is_array()) at.fail("field \"args\" is not a list");
  if (!kwargs.is_object()) at.fail("field \"kwargs\" is not an object");
  if (!out.is_array()) at.fail("field \"out\" is not a list");
  if (at.has("autocast")) node.autocast = pick<bool>(at, "autocast", {{"bfloat16", true}});
  node.args.assign(args.begin(), args.end());
  for (const auto& [name, value] : kwargs.items()) node.kwargs.emplace_back(name, value);
  for (const auto& slot : out) {
    if (!slot.is_null() && !is_whole<int>(slot)) at.fail("field \"out\" holds something that is no slot");
    node.out.push_back(slot.is_null() ? -1 : slot.get<int>());
  }
  return node;
}

Loss read_loss(const Reader& at) {
  Loss loss{at.get<int>("numerator")};
  const auto& denominator = at.at("denominator");
  const auto inner = at.object("denominator");
  if (denominator.contains("slot")) {
    loss.denominator = inner.get<int>("slot");
  } else {
    loss.per_row = inner.get<double>("rows");
  }
  return loss;
}

std::optional<Metric> read_metric(const Reader& program) {
  if (program.at("metric").is_null()) return std::nullopt;
  const auto at = program.object("metric");
  const auto kind = pick<MetricKind>(at, "kind",
                                     {{"argmax", MetricKind::argmax},
                                      {"sign", MetricKind::sign},
                                      {"half", MetricKind::half},
                                      {"values", MetricKind::values}});
  const int weight = at.at("weight").is_null() ? -1 : at.get<int>("weight");
  const int group = program.at("metric").contains("group") ? at.get<int>("group") : -1;
  return Metric{kind, at.get<int>("output"), at.get<int>("label"), weight, group};
}

OwnMetric read_own_metric(const Reader& at) {
  return {at.get<std::string>("name"), at.get<int>("numerator"), at.get<int>("denominator")};
}

void collect_slots(const Json& value, std::vector<int>& slots) {
  if (value.is_array()) {
    for (const auto& item : value) collect_slots(item, slots);
  } else if (value.is_object() && value.contains("slot")) {
    const auto& slot = value["slot"];
    if (!is_whole<int>(slot)) fail_user("a slot is a number, not ", slot.dump().substr(0, 60));
    slots.push_back(slot.get<int>());
  }
}

// Follows the program in order and checks that each slot is written once, before it is read.
class SlotCheck {
 public:
  explicit SlotCheck(int slots) : written_(slots, false) {}
  void write(int slot, const std::string& by) {
    check_range(slot, by);
    if (written_[slot]) fail_user(by, " writes slot ", slot, ", which is written already");
    written_[slot] = true;
  }
  void read(int slot, const std::string& by) const {
    check_range(slot, by);
    if (!written_[slot]) fail_user(by, " reads slot ", slot, " before it is written");
  }

 private:
  void check_range(int slot, const std::string& by) const {
    const auto n = static_cast<int>(written_.size());
    if (slot < 0 || slot >= n) fail_user(by, " names slot ", slot, " of a program with ", n, " slots");
  }
  std::vector<bool> written_;
};

void check_slots(const Program& program) {
  SlotCheck check(program.slots);
  for (const auto& x : program.inputs) check.write(x.slot, "input " + x.name);
  for (const auto& x : program.parameters) check.write(x.slot, "parameter " + x.name);
  for (const auto& x : program.buffers) check.write(x.slot, "buffer " + x.name);
  for (const auto& x : program.constants) check.write(x.slot, "constant " + x.name);
  for (size_t i = 0; i < program.nodes.size(); ++i) {
    const auto& node = program.nodes[i];
    const auto by = cat("node ", i, " (", node.op, ")");
    for (const auto& value : node.args) {
      for (const int slot : slots_in(value)) check.read(slot, by);
    }
    for (const auto& [name, value] : node.kwargs) {
      for (const int slot : slots_in(value)) check.read(slot, by);
    }
    for (const int slot : node.out) {
      if (slot != -1) check.write(slot, by);
    }
  }
  for (const auto& x : program.outputs) check.read(x.slot, "output " + x.name);
  if (!program.has_loss) return;
  check.read(program.loss.numerator, "the loss");
  if (program.loss.denominator != -1) check.read(program.loss.denominator, "the loss");
  for (const auto& own : program.sums)
    for (const int slot : {own.numerator, own.denominator}) check.read(slot, "a metric");
  if (!program.metric) return;
  for (const int slot : {program.metric->output, program.metric->label}) check.read(slot, "the metric");
  for (const int slot : {program.metric->weight, program.metric->group})
    if (slot != -1) check.read(slot, "the metric");
}

void check_header(const Json& json) {
  if (!json.is_object() || !json.contains("format") || json["format"] != "stoker-program") {
    fail_user("this is not a Stoker program");
  }
  const Reader at(json, "the program");
  const auto version = at.get<int>("version");
  if (version < 1 || version > kVersion)
    fail_user("the program is of format version ", version, "; this build reads versions 1 to ", kVersion);
}

}  // namespace

Program parse_program(const std::string& text) {
  const auto json = Json::parse(text, check_depth, false);
  if (json.is_discarded()) fail_user("the program is truncated or damaged: it is not valid JSON");
  check_header(json);
  const Reader at(json, "the program");
  Program program;
  const auto kind = pick<std::string>(at, "kind", {{"train", "train"}, {"infer", "infer"}, {"eval", "eval"}});
  program.train = kind == "train";
  program.has_loss = kind != "infer";
  program.torch = at.get<std::string>("torch");
  program.inputs = at.list("inputs", read_input);
  program.parameters = at.list("parameters", read_parameter);
  program.buffers = at.list("buffers", read_buffer);
  program.constants = at.list("constants", read_constant);
  program.slots = at.get<int>("slots");
  if (program.slots < 0) at.fail("field \"slots\" is negative");
  if (program.slots > kMostSlots) at.fail("has ", program.slots, " slots; ", kMostSlots, " are the most");
  program.nodes = at.list("nodes", read_node);
  program.outputs = at.list("outputs", [](const Reader& r) {
    return Output{r.get<std::string>("name"), r.get<int>("slot")};
  });
  program.coupled = json.contains("coupled");
  if (json.contains("widest")) program.widest = at.get<int64_t>("widest");
  if (program.has_loss) {
    program.loss = read_loss(at.object("loss"));
    program.metric = read_metric(at);
    if (json.contains("sums")) program.sums = at.list("sums", read_own_metric);
  }
  check_slots(program);
  return program;
}

std::vector<int> slots_in(const Json& value) {
  std::vector<int> slots;
  collect_slots(value, slots);
  return slots;
}

int64_t elements(const std::vector<int64_t>& shape) {
  int64_t n = 1;
  for (const auto d : shape) n *= d;
  return n;
}

}  // namespace stoker::program
