#pragma once
// What the columns of a fit are: one ColumnSpec per input of the program, and the fields that it is packed from.
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/spec/calendar.h"
#include "data/spec/image_spec.h"
#include "data/spec/tokenizer.h"
#include "data/spec/vocabulary.h"

namespace stoker::data {

/// u16 is a stored form only: no program takes it.
enum class DType { f32, f64, i32, i64, u8, u16 };
size_t size_of(DType dtype);
const char* name(DType dtype);
DType parse_dtype(const std::string& name);  // "float32", "float64", "int32", "int64", "uint8", "uint16"

/// Calls `f` with a value of the dtype's C++ type.
template <typename F>
void with_dtype(DType dtype, F f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::i32:
      return f(int32_t{});
    case DType::i64:
      return f(int64_t{});
    case DType::u8:
      return f(uint8_t{});
    case DType::u16:
      return f(uint16_t{});
  }
}

/// Some values of an input's row, all from one Arrow column and read in one way. Null and NaN are missing values.
struct FieldSpec {
  enum class Kind {
    plain,     // numbers as they are, no policies: what a ColumnSpec without fields is read as
    number,    // (value - mean) / scale
    category,  // the value's number in the vocabulary, 0 where it is not there
    hash,      // 1 to buckets - 1 by the value's content, 0 where it is missing
    part,      // parts of a date or timestamp
    present,   // 1 where there is a value, 0 where it is missing or padding
    image,     // a picture's pixels, each (pixel / 255 - mean) / deviation
    text       // the numbers of a text's first tokens, then `pad`; or 1 for each token, then 0
  };
  std::string column;              // of the Arrow batch
  std::vector<std::string> shown;  // the user's names for messages: one for all, or one per value
  Kind kind = Kind::plain;
  DType stored = DType::f32;
  std::vector<int64_t> shape;  // of the row's cells; empty: one
  bool padded = false;         // shape is one length, to which lists are cut or padded
  double pad = 0;
  bool fill_missing = false;              // else a missing value is an error
  std::vector<double> fill, mean, scale;  // one for all, or one per value; no mean: numbers stay as they are
  bool lossy = false;                     // digits may be lost
  double unit = 1;                        // the tensor holds stored values times this
  std::shared_ptr<const Vocabulary> vocabulary;
  int64_t buckets = 0;
  std::vector<DatePart> parts;
  std::shared_ptr<const ImageSpec> image;
  std::shared_ptr<const Tokenizer> tokenizer;
  int64_t length = 0;  // of a text, in tokens
  bool mask = false;   // of a text

  int64_t cells() const;     // of one row in the Arrow column
  int64_t values() const;    // of one row in the tensor
  size_t row_bytes() const;  // as stored
};

struct ColumnSpec {
  std::string name;            // of the Arrow column, where there are no fields
  std::string shown;           // the user's name for it, in messages
  DType dtype = DType::f32;    // of the tensor
  std::vector<int64_t> shape;  // of one row; empty for a scalar
  bool integral = false;       // values must be whole numbers (class labels)
  int64_t classes = 0;         // if > 0: values must lie in [0, classes)
  int64_t ignored = -1;        // a value outside [0, classes) that is allowed all the same (ignore_index)
  bool has_ignored = false;
  bool finite = false;            // NaN and infinity are errors (labels, weights)
  bool non_negative = false;      // weights
  std::vector<FieldSpec> fields;  // fill a row of the tensor one after the other; none: the column itself, plain

  int64_t elements() const;  // of one row
  size_t row_bytes() const { return static_cast<size_t>(elements()) * size_of(dtype); }
};

/// From a JSON array of objects with these fields; all but "name" may be left out. "fields" are objects with the fields
/// of FieldSpec, "words" or "numbers" for the vocabulary, and "parts" as [{"part": "month", "table": [[..], ..]}].
std::vector<ColumnSpec> parse_columns(const std::string& json);
/// The field that a column without declared ones is.
FieldSpec plain_field(const ColumnSpec& spec);

}  // namespace stoker::data
