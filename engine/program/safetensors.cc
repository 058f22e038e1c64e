#include "program/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/pieces.h"
#include "base/whole.h"

namespace stoker::program {
namespace {

using Json = nlohmann::ordered_json;

struct DType {
  const char* code;
  const char* name;
  size_t size;
};
constexpr DType kDTypes[] = {
    {"F64", "float64", 8}, {"I64", "int64", 8},   {"U64", "uint64", 8},    {"F32", "float32", 4}, {"I32", "int32", 4},
    {"U32", "uint32", 4},  {"F16", "float16", 2}, {"BF16", "bfloat16", 2}, {"I16", "int16", 2},   {"U16", "uint16", 2},
    {"I8", "int8", 1},     {"U8", "uint8", 1},    {"BOOL", "bool", 1}};

const DType* by_name(const std::string& name) {
  const auto* found = std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](auto& d) { return d.name == name; });
  return found == std::end(kDTypes) ? nullptr : found;
}
const DType* by_code(const std::string& code) {
  const auto* found = std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](auto& d) { return d.code == code; });
  return found == std::end(kDTypes) ? nullptr : found;
}

const DType& known(const std::string& name) {
  const auto* dtype = by_name(name);
  if (!dtype) fail_user("a safetensors file cannot hold elements of type ", name);
  return *dtype;
}

// Nothing when the product does not fit: such a shape is no tensor of any file.
std::optional<uint64_t> bytes_of(const std::vector<int64_t>& shape, size_t item) {
  uint64_t total = item;
  for (const auto n : shape) {
    if (n < 0 || __builtin_mul_overflow(total, static_cast<uint64_t>(n), &total)) return std::nullopt;
  }
  return total;
}

int64_t whole(const Json& number) {
  if (!is_whole<int64_t>(number) || number.get<int64_t>() < 0)
    fail_user("the header of the file is damaged: ", number.dump(), " is no size");
  return number.get<int64_t>();
}

std::vector<int64_t> all_whole(const Json& numbers) {
  std::vector<int64_t> found;
  for (const auto& number : numbers.get_ref<const Json::array_t&>()) found.push_back(whole(number));
  return found;
}

NamedTensor parse_entry(const std::string& name, const Json& entry, ByteView data, uint64_t& end) {
  const auto* dtype = by_code(entry.at("dtype").get<std::string>());
  if (!dtype) fail_user("tensor ", name, " has the unknown element type ", entry.at("dtype").dump());
  NamedTensor tensor{name, dtype->name, all_whole(entry.at("shape")), {}};
  const auto place = all_whole(entry.at("data_offsets"));
  if (place.size() != 2) fail_user("the header of the file is damaged: tensor ", name, " has no beginning and end");
  const auto from = static_cast<uint64_t>(place[0]), to = static_cast<uint64_t>(place[1]);
  const auto size = bytes_of(tensor.shape, dtype->size);
  if (from > to || !size || to - from != *size) fail_user("the place of tensor ", name, " contradicts its shape");
  if (to > data.size()) fail_user("the file is cut short: tensor ", name, " ends at byte ", to, " of ", data.size());
  tensor.data = data.subspan(from, to - from);
  end = std::max(end, to);
  return tensor;
}

ByteView header_of(ByteView bytes) {
  if (bytes.size() < 8) fail_user("the file is cut short: ", bytes.size(), " bytes");
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  if (length > (uint64_t{1} << 30)) fail_user("this is not a safetensors file");
  if (length > bytes.size() - 8) fail_user("the file is cut short in its header: ", bytes.size(), " bytes");
  return bytes.subspan(8, length);
}

}  // namespace

size_t item_size(const std::string& dtype) { return known(dtype).size; }

SafeTensors::SafeTensors(ByteView bytes, const std::string& what) try {
  const auto header = header_of(bytes);
  const auto data = bytes.subspan(8 + header.size());
  const auto json = Json::parse(to_string(header), nullptr, false);
  if (!json.is_object()) fail_user("this is not a safetensors file");
  uint64_t end = 0;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      metadata_ = entry.get<std::map<std::string, std::string>>();
    } else {
      tensors_.push_back(parse_entry(name, entry, data, end));
    }
  }
  if (end != data.size()) fail_user("the file has ", data.size() - end, " bytes that belong to no tensor");
  std::ranges::stable_sort(tensors_, {}, [](const NamedTensor& t) { return t.data.data(); });
  for (size_t i = 0; i < tensors_.size(); ++i) index_[tensors_[i].name] = i;
} catch (const Json::exception& e) {
  throw Error(ErrorKind::user, cat(what, ": the header of the safetensors file is damaged (", e.what(), ")"));
} catch (const Error& e) {
  throw e.within(what);
}

const NamedTensor* SafeTensors::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

Bytes write_safetensors(std::vector<NamedTensor> tensors, const std::map<std::string, std::string>& metadata) {
  std::ranges::stable_sort(tensors, std::greater(), [](const NamedTensor& t) { return known(t.dtype).size; });
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const auto& t : tensors) {
    const auto& dtype = known(t.dtype);
    STOKER_CHECK(bytes_of(t.shape, dtype.size) == t.data.size() && !header.contains(t.name));
    header[t.name] = {{"dtype", dtype.code}, {"shape", t.shape}, {"data_offsets", {offset, offset + t.data.size()}}};
    offset += t.data.size();
  }
  auto text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  Bytes out;
  resize_in_pieces(out, 8 + text.size() + offset);
  std::byte* end = out.data();
  const auto append = [&](ByteView part) {
    copy_bytes(part, end);
    end += part.size();
  };
  const uint64_t length = text.size();
  append(std::as_bytes(std::span(&length, 1)));
  append(as_bytes(text));
  for (const auto& t : tensors) append(t.data);
  return out;
}

MappedFile::MappedFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_errno("cannot open " + path);
  struct stat info {};
  const bool known_size = fstat(fd, &info) == 0;
  const auto size = static_cast<size_t>(info.st_size);
  void* place = known_size && size ? mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : nullptr;
  close(fd);
  if (!known_size || place == MAP_FAILED) fail_errno("cannot map " + path);
  bytes_ = {static_cast<const std::byte*>(place), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

}  // namespace stoker::program
