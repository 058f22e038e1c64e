#include "program/symbols.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace stoker::program {
namespace {

using c10::IValue;
using Arguments = std::vector<IValue>;

template <typename Op>
IValue arithmetic(const Arguments& a, Op op) {
  if (a[0].isInt() && a[1].isInt()) return IValue(op(a[0].toInt(), a[1].toInt()));
  return IValue(op(a[0].toScalar().toDouble(), a[1].toScalar().toDouble()));
}

template <typename T>
T floor_divide(T x, T y) {
  if (y == 0) fail_user("division by zero in the program's shape arithmetic");
  if constexpr (std::is_integral_v<T>) {
    return x / y - (x % y != 0 && (x < 0) != (y < 0) ? 1 : 0);
  } else {
    return std::floor(x / y);
  }
}

constexpr Symbol kSymbols[] = {
    {"sym.size", 2, [](const Arguments& a) { return IValue(a[0].toTensor().size(a[1].toInt())); }},
    {"sym.numel", 1, [](const Arguments& a) { return IValue(a[0].toTensor().numel()); }},
    {"sym.add", 2, [](const Arguments& a) { return arithmetic(a, [](auto x, auto y) { return x + y; }); }},
    {"sym.sub", 2, [](const Arguments& a) { return arithmetic(a, [](auto x, auto y) { return x - y; }); }},
    {"sym.mul", 2, [](const Arguments& a) { return arithmetic(a, [](auto x, auto y) { return x * y; }); }},
    {"sym.floordiv", 2,
     [](const Arguments& a) { return arithmetic(a, [](auto x, auto y) { return floor_divide(x, y); }); }},
    {"sym.mod", 2,
     [](const Arguments& a) { return arithmetic(a, [](auto x, auto y) { return x - floor_divide(x, y) * y; }); }},
    {"sym.max", 2, [](const Arguments& a) { return arithmetic(a, [](auto x, auto y) { return std::max(x, y); }); }},
    {"sym.min", 2, [](const Arguments& a) { return arithmetic(a, [](auto x, auto y) { return std::min(x, y); }); }},
    {"sym.neg", 1, [](const Arguments& a) { return a[0].isInt() ? IValue(-a[0].toInt()) : IValue(-a[0].toDouble()); }},
    {"sym.truediv", 2,
     [](const Arguments& a) { return IValue(a[0].toScalar().toDouble() / a[1].toScalar().toDouble()); }},
    {"sym.int", 1, [](const Arguments& a) { return IValue(a[0].toScalar().toLong()); }},
    {"sym.float", 1, [](const Arguments& a) { return IValue(a[0].toScalar().toDouble()); }},
};

}  // namespace

const Symbol* find_symbol(const std::string& op) {
  const auto* found = std::ranges::find_if(kSymbols, [&](const Symbol& s) { return s.op == op; });
  return found == std::end(kSymbols) ? nullptr : found;
}

}  // namespace stoker::program
