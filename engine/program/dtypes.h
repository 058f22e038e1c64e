#pragma once
// torch's dtype names and what they stand for.
#include <c10/core/ScalarType.h>

#include <string>

namespace stoker::program {

/// "float32", "int64", "bool", ... Throws Error(user) on an unknown name.
c10::ScalarType scalar_type(const std::string& name);
std::string dtype_name(c10::ScalarType type);

}  // namespace stoker::program
