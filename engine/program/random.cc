#include "program/random.h"

#include "base/hash.h"

namespace stoker::program {
namespace {

bool known_to_be(const Recipe& r, bool (*test)(const c10::IValue&)) {
  return r.kind == Recipe::Kind::constant && test(r.constant);
}

// train=False or a probability of zero.
bool draws_nothing(const c10::FunctionSchema& schema, const std::vector<Recipe>& arguments) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto& name = schema.arguments()[i].name();
    if (name == "train" || name == "training") {
      if (known_to_be(arguments[i], [](const auto& v) { return v.isBool() && !v.toBool(); })) return true;
    }
    if (name == "p" || name == "dropout" || name == "dropout_p") {
      if (known_to_be(arguments[i], [](const auto& v) { return v.isDouble() && v.toDouble() == 0; })) return true;
    }
  }
  return false;
}

std::mutex& shared_generator_turn() {
  static std::mutex turn;
  return turn;
}

at::CPUGeneratorImpl& shared_generator() { return *at::detail::getDefaultCPUGenerator().get<at::CPUGeneratorImpl>(); }

}  // namespace

Randomness randomness_of(const c10::OperatorHandle& op, const std::vector<Recipe>& arguments) {
  const auto& schema = op.schema();
  if (!op.hasTag(at::Tag::nondeterministic_seeded) || draws_nothing(schema, arguments)) return {};
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto type = schema.arguments()[i].real_type();
    const auto inner = type->kind() == c10::TypeKind::OptionalType ? type->containedType(0) : type;
    if (inner->kind() == c10::TypeKind::GeneratorType) return {Randomness::Source::argument, static_cast<int>(i)};
  }
  return {Randomness::Source::shared};
}

uint64_t node_seed(const RandomKey& key, uint64_t node) {
  const uint64_t numbers[] = {key.seed, key.epoch, key.step, key.shard, node};
  return mix_key(numbers);
}

at::Generator make_generator(uint64_t seed) { return at::make_generator<at::CPUGeneratorImpl>(seed); }

SharedGenerator::SharedGenerator(uint64_t seed) : turn_(shared_generator_turn()) {
  auto& shared = shared_generator();
  std::lock_guard guard(shared.mutex_);
  before_ = shared.clone();
  shared.set_current_seed(seed);
}

SharedGenerator::~SharedGenerator() {
  auto& shared = shared_generator();
  std::lock_guard guard(shared.mutex_);
  shared.set_engine(before_->engine());
  shared.set_next_float_normal_sample(before_->next_float_normal_sample());
  shared.set_next_double_normal_sample(before_->next_double_normal_sample());
}

}  // namespace stoker::program
