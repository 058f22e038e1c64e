// A program's text, as it lies in a file of a model. What can be read names only slots that it has.
#include "fuzz.h"
#include "program/format.h"

FUZZ_TARGET(input) {
  using namespace stoker;
  try {
    const auto program = program::parse_program(std::string(to_string(input)));
    for (const auto& output : program.outputs) fuzz::require(output.slot >= 0 && output.slot < program.slots);
  } catch (const Error& error) {
    fuzz::require(error.kind() == ErrorKind::user);
  }
}
