#pragma once
// A user's outer step of local training (sync/local_steps.h): a program of elementwise operators that makes, of the
// common weights, of what shards moved by on average, and of its own state, the next weights and state. An optimizer
// like others, so its state lies and is committed as theirs.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "optim/optimizer.h"

namespace stoker::train {

/// "outer" of a strategy, where its name is "own".
struct OuterSpec {
  std::vector<std::string> state;  // "state": names
  std::string program;             // "program": of kind "infer", as JSON text: center, delta and each state, one number
                                   // a row, to the new center and each new state
  std::string constants;           // "constants": safetensors of the program's, base64
};

OuterSpec parse_outer_program(const nlohmann::json& in);

/// Runs the program on one block of the arena at a time, so that the same kernels see the same number of rows whatever
/// the cut into ranges; ranges are of whole blocks. Its delta is the negative of the gradient. The schedule and the
/// step's number mean nothing to it. Throws Error(user) where the program is no such one.
std::unique_ptr<optim::Optimizer> make_outer_program(const OuterSpec& spec, const optim::Arena& arena);

}  // namespace stoker::train
