#include "program/operators.h"

#include <algorithm>
#include <iterator>
#include <sstream>
#include <unordered_set>

#include "base/error.h"

namespace stoker::program {
namespace {

/// The lines of the list, made by CMake.
constexpr std::string_view kLines[] = {
#include "program/operators.inc"
};

struct Allowed {
  std::unordered_set<std::string> names, words;
};

void take_words(std::string_view line, std::unordered_set<std::string>& into) {
  std::istringstream in{std::string(line)};
  into.insert(std::istream_iterator<std::string>(in), {});
}

const Allowed& allowed() {
  static const Allowed all = [] {
    Allowed read;
    for (const std::string_view line : kLines) {
      if (line.starts_with('"'))
        take_words(line.substr(1), read.words);
      else if (!line.starts_with('#'))
        take_words(line, read.names);
    }
    return read;
  }();
  return all;
}

bool is_equation(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || std::string_view(" .,->").find(c) != std::string::npos;
  });
}

}  // namespace

OperatorName split_operator(const std::string& op) {
  const auto first = op.find('.');
  const auto last = op.rfind('.');
  if (first == std::string::npos || first == last) fail_user("\"", op, "\" names no operator");
  return {op.substr(0, first), op.substr(first + 1, last - first - 1), op.substr(last + 1)};
}

bool may_name(const OperatorName& op) {
  const bool writes_out = op.overload == "out" || op.overload.ends_with("_out");
  return op.space == "aten" && !writes_out && allowed().names.contains(op.name);
}

bool may_say(const OperatorName& op, std::string_view text) {
  return allowed().words.contains(std::string(text)) || (op.name == "einsum" && is_equation(text));
}

bool gives_old_memory(const OperatorName& op) {
  return op.name.starts_with("empty") || op.name.starts_with("new_empty");
}

}  // namespace stoker::program
