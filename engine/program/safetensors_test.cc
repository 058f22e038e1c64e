#include "program/safetensors.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "program/test_programs.h"

namespace stoker::program {
namespace {

template <typename T>
ByteView view(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

const std::vector<float> kWeight = {1, 2, 3, 4, 5, 6};
const std::vector<int64_t> kCount = {7};
const std::vector<uint8_t> kFlags = {1, 0, 1};

Bytes example() {
  return write_safetensors({{"flags", "bool", {3}, view(kFlags)},
                            {"weight", "float32", {2, 3}, view(kWeight)},
                            {"empty", "float32", {0, 4}, {}},
                            {"count", "int64", {}, view(kCount)}},
                           {{"torch", "2.13"}});
}

Bytes with_header(const std::string& header, size_t data) {
  Bytes bytes(8 + header.size() + data);
  const uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

std::string parse_error(ByteView bytes) {
  return user_error([&] { SafeTensors(bytes, "model.safetensors"); });
}

TEST(SafeTensors, GiveBackWhatWasWritten) {
  const auto bytes = example();
  const SafeTensors file(bytes, "test");
  ASSERT_EQ(file.tensors().size(), 4U);
  const auto* weight = file.find("weight");
  ASSERT_TRUE(weight);
  EXPECT_EQ(weight->dtype, "float32");
  EXPECT_EQ(weight->shape, (std::vector<int64_t>{2, 3}));
  EXPECT_TRUE(std::ranges::equal(weight->data, view(kWeight)));
  EXPECT_TRUE(std::ranges::equal(file.find("count")->data, view(kCount)));
  EXPECT_TRUE(file.find("empty")->data.empty());
  EXPECT_EQ(file.find("none"), nullptr);
  EXPECT_EQ(file.metadata().at("torch"), "2.13");
}

TEST(SafeTensors, LieAtMultiplesOfTheirElements) {
  const auto bytes = example();
  const SafeTensors file(bytes, "test");
  for (const auto& t : file.tensors()) {
    EXPECT_EQ((t.data.data() - bytes.data()) % item_size(t.dtype), 0U) << t.name;
  }
  EXPECT_EQ(example(), bytes);
}

TEST(SafeTensors, NoTensorsAtAll) {
  const auto bytes = write_safetensors({});
  EXPECT_TRUE(SafeTensors(bytes, "test").tensors().empty());
}

TEST(SafeTensors, CutShortAnywhere) {
  const auto bytes = example();
  for (size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_TRUE(has(parse_error(ByteView(bytes).first(n)), "model.safetensors: the file is cut short")) << n;
  }
}

TEST(SafeTensors, ForeignBytes) {
  EXPECT_TRUE(has(parse_error(as_bytes("PK\3\4 this is a zip archive of something")), "not a safetensors file"));
  EXPECT_TRUE(has(parse_error(with_header("no json at all", 0)), "not a safetensors file"));
  EXPECT_TRUE(has(parse_error(with_header("[1, 2]", 0)), "not a safetensors file"));
}

TEST(SafeTensors, HeaderThatContradictsItself) {
  const auto entry = [](const char* fields) { return with_header(cat("{\"a\": {", fields, "}}"), 8); };
  EXPECT_TRUE(
      has(parse_error(entry(R"("dtype": "F32", "shape": [3], "data_offsets": [0, 8])")), "contradicts its shape"));
  EXPECT_TRUE(
      has(parse_error(entry(R"("dtype": "F32", "shape": [2], "data_offsets": [8, 0])")), "contradicts its shape"));
  EXPECT_TRUE(
      has(parse_error(entry(R"("dtype": "Q4", "shape": [2], "data_offsets": [0, 8])")), "unknown element type"));
  EXPECT_TRUE(has(parse_error(entry(R"("dtype": "F32", "shape": [2])")), "damaged"));
  for (const char* size :
       {"6666666666666666666666666663", "1e300", "2.0", "-2", "18446744073709551615", "null", "true"}) {
    const std::string shape = cat(R"("dtype": "F32", "shape": [)", size, R"(], "data_offsets": [0, 8])");
    EXPECT_TRUE(has(parse_error(entry(shape.c_str())), "is no size")) << size;
    const std::string end = cat(R"("dtype": "F32", "shape": [2], "data_offsets": [0, )", size, "]");
    EXPECT_TRUE(has(parse_error(entry(end.c_str())), "is no size")) << size;
  }
  EXPECT_TRUE(has(parse_error(entry(R"("dtype": "F32", "shape": [2], "data_offsets": [0, 8, 8])")), "no beginning"));
  EXPECT_TRUE(has(parse_error(entry(R"("dtype": "F32", "shape": ["2"], "data_offsets": [0, 8])")), "damaged"));
  EXPECT_TRUE(
      has(parse_error(entry(R"("dtype": "F32", "shape": [1], "data_offsets": [0, 4])")), "belong to no tensor"));
  EXPECT_TRUE(has(parse_error(entry(R"("dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0])")),
                  "contradicts its shape"));
}

TEST(MappedFile, SameBytesAndMissingFile) {
  const auto path = testing::TempDir() + "mapped.safetensors";
  const auto bytes = example();
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  EXPECT_TRUE(std::ranges::equal(MappedFile(path).bytes(), bytes));
  std::ofstream(path, std::ios::binary | std::ios::trunc);
  EXPECT_TRUE(MappedFile(path).bytes().empty());
  std::remove(path.c_str());
  EXPECT_THROW(MappedFile{path}, Error);
}

}  // namespace
}  // namespace stoker::program
