#include "program/dtypes.h"

#include "base/error.h"

namespace stoker::program {

c10::ScalarType scalar_type(const std::string& name) {
  for (int i = 0; i < static_cast<int>(c10::ScalarType::Undefined); ++i) {
    const auto type = static_cast<c10::ScalarType>(i);
    if (dtype_name(type) == name) return type;
  }
  fail_user("there is no dtype \"", name, "\"");
}

std::string dtype_name(c10::ScalarType type) { return std::string(c10::getDtypeNames(type).first); }

}  // namespace stoker::program
