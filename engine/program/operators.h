#pragma once
// What a program may name: the list of python/stoker/operators.txt, which the front end reads too. A stranger's program
// can compute, and nothing else. Pure functions.
#include <string>
#include <string_view>

namespace stoker::program {

/// "aten.add.Tensor": its parts.
struct OperatorName {
  std::string space, name, overload;
};
/// Throws Error(user) for what has no such parts.
OperatorName split_operator(const std::string& op);

/// Whether an operator of the list, and no variant that writes into an argument "out".
bool may_name(const OperatorName& op);
/// Whether an argument may be this text: a word of the list, or an equation of einsum.
bool may_say(const OperatorName& op, std::string_view text);
/// Whether it gives memory as it finds it, which may be anybody's.
bool gives_old_memory(const OperatorName& op);

}  // namespace stoker::program
