#pragma once
// The integer operators of a program (sym.*): shape arithmetic, with Python's rules.
#include <ATen/core/ivalue.h>

#include <string>
#include <vector>

namespace stoker::program {

struct Symbol {
  const char* op;
  int arguments;
  c10::IValue (*call)(const std::vector<c10::IValue>& arguments);
};

/// Null when there is none of this name.
const Symbol* find_symbol(const std::string& op);

}  // namespace stoker::program
