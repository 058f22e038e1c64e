#include "data/arrow/layout.h"

#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace stoker::data {
namespace {

constexpr int64_t kMaxEntries = int64_t{1} << 40;

int64_t buffers_of(std::string_view format) {
  if (format == "n" || format == "+r" || format.starts_with("+u") || format.find('v') < 2) return 0;  // never read
  if (format == "+s" || format.starts_with("+w:")) return 1;
  return format == "u" || format == "U" || format == "z" || format == "Z" ? 3 : 2;
}

/// Whether a child of so many entries is long enough for those above it.
bool reaches(std::string_view format, int64_t entries, int64_t child) {
  if (!format.starts_with("+w:")) return format != "+s" || child >= entries;
  const int64_t each = std::strtoll(format.data() + 3, nullptr, 10);
  return each == 0 || (each > 0 && child / each >= entries);
}

template <typename O>
std::string bytes_fault(const ArrowArray& array) {
  const int64_t held = bytes_held<O>(array);
  if (held < 0) return cat("its texts end at ", held);
  return held > 0 && array.buffers[2] == nullptr ? "its texts have no bytes" : "";
}

std::string buffers_fault(std::string_view format, const ArrowArray& array) {
  const int64_t buffers = buffers_of(format);
  if (array.n_buffers < buffers) return cat("it has ", array.n_buffers, " buffers, expected ", buffers);
  if (buffers < 2 || array.offset + array.length == 0) return "";
  if (array.buffers[1] == nullptr) return "its values are missing";
  if (format == "u" || format == "z") return bytes_fault<int32_t>(array);
  return format == "U" || format == "Z" ? bytes_fault<int64_t>(array) : "";
}

std::string children_fault(const ArrowSchema& schema, const ArrowArray& array) {
  for (int64_t i = 0; i < array.n_children; ++i) {
    const ArrowArray& child = *array.children[i];
    std::string fault = layout_fault(*schema.children[i], child);
    if (!fault.empty()) return fault;
    if (!reaches(schema.format, array.offset + array.length, child.length))
      return cat("a part of it ends after ", child.length, " entries");
  }
  return "";
}

}  // namespace

std::string Range::text() const { return cat(begin, " to ", end); }

std::string layout_fault(const ArrowSchema& schema, const ArrowArray& array) {
  if (array.length < 0 || array.offset < 0 || array.length > kMaxEntries || array.offset > kMaxEntries)
    return cat("it has ", array.length, " entries from ", array.offset, " on");
  if (array.n_children != schema.n_children) return cat("it has ", array.n_children, " parts");
  if ((array.dictionary == nullptr) != (schema.dictionary == nullptr)) return "its dictionary is missing";
  std::string fault = buffers_fault(schema.format, array);
  if (fault.empty()) fault = children_fault(schema, array);
  if (fault.empty() && array.dictionary != nullptr) fault = layout_fault(*schema.dictionary, *array.dictionary);
  return fault;
}

}  // namespace stoker::data
