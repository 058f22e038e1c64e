#include "optim/adafactor.h"

#include <algorithm>
#include <cmath>

#include "base/clones.h"
#include "base/error.h"
#include "optim/grouped.h"
#include "optim/matrices.h"
#include "optim/pieces.h"

namespace stoker::optim {
namespace {

constexpr int kLanes = 8;

/// Squares of a row's elements: added to those of the columns, and their sum, in one order on every instruction set.
STOKER_CLONES double add_squares(const float* g, int64_t stride, int64_t count, double* columns) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int l = 0; l < kLanes; ++l) {
      const double value = g[(i + l) * stride], square = value * value;
      lanes[l] += square;
      columns[i + l] += square;
    }
  for (int l = 0; i < count; ++i, ++l) {
    const double value = g[i * stride], square = value * value;
    lanes[l] += square;
    columns[i] += square;
  }
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  return lanes[0];
}

/// What the weights are changed by, before it is clipped, along a run.
STOKER_CLONES void changes(const float* g, float scale, const double* rows, int64_t row_step, const double* columns,
                           int64_t column_step, double least, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const double moment = rows[i * row_step] * columns[i * column_step];
    out[i] = static_cast<float>(static_cast<double>(scale * g[i]) / __builtin_sqrt(moment < least ? least : moment));
  }
}

STOKER_CLONES void scaled(const float* from, float by, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = by * from[i];
}

STOKER_CLONES void moved(const float* from, float kept, float step, const float* change, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = from[i] * kept - step * change[i];
}

double lerp(double from, double to, double part) { return from + part * (to - from); }

double root_mean(double squares, int64_t count) {
  return std::sqrt(squares / static_cast<double>(std::max<int64_t>(count, 1)));
}

/// A view of the numbers: two of each parameter, then those by row and by column, twice the former.
struct Numbers {
  double* at;
  int64_t parameters, row_count, column_count;

  double& size(size_t p) const { return at[2 * p]; }      // root mean square of the weights
  double& step(size_t p) const { return at[2 * p + 1]; }  // what the change is multiplied by
  double* rows() const { return at + 2 * parameters; }
  double* shares() const { return rows() + row_count; }  // of rows, in the mean over their matrix
  double* columns() const { return shares() + row_count; }
  int64_t count() const { return 2 * (parameters + row_count) + column_count; }
};

/// A view of the sums: the gradient; a number for each piece, of the weights' squares and then of the changes'; squares
/// of the gradient by row, and by column of each strip.
struct Sums {
  double* at;
  int64_t floats, pieces, row_count;

  float* gradient() const { return reinterpret_cast<float*>(at); }
  double* squares() const { return at + floats / 2; }
  double* rows() const { return squares() + pieces; }
  double* columns(const Strip& strip) const { return rows() + row_count + strip.columns; }
};

class Adafactor : public GroupedOptimizer {
 public:
  Adafactor(const OptimizerOptions& options, const Arena& arena, Isa isa)
      : GroupedOptimizer(options, arena, isa),
        keras_(options.name == "keras_adafactor"),
        floats_(arena.floats()),
        pieces_(pieces_of(arena)),
        parameters_(matrices_of(arena)),
        strips_(strips_of(parameters_)),
        by_place_(strips_) {
    std::ranges::stable_sort(by_place_, {}, &Strip::first);
    for (const Matrices& m : parameters_) {
      rows_ += m.row_count();
      columns_ += m.column_count();
    }
    if (!strips_.empty()) strip_columns_ = strips_.back().columns + parameters_[strips_.back().parameter].columns;
  }

  int state_buffers() const override { return 0; }
  std::vector<std::string> state_names() const override { return {}; }
  int rounds() const override { return 3; }
  int64_t numbers() const override { return numbers_of(nullptr).count(); }
  int64_t sums() const override {
    return sums_of(nullptr).floats / 2 + static_cast<int64_t>(pieces_.size()) + rows_ + strip_columns_;
  }

  void measure(int round, Extent range, const Moment& at, const UpdateBuffers& buffers, double* sums) const override {
    STOKER_CHECK(range.begin % kBlock == 0 && range.size() % kBlock == 0);
    if (round == 0) return gather(range, at, buffers, sums_of(sums));
    if (round == 1) return add_up(range, sums_of(sums));
    for_each_piece(pieces_, range, [&](size_t i, Extent part) {
      float block[kBlock] = {};
      change(pieces_[i].parameter, part, at, buffers, block);
      kernels_.block_norms(block, 1, 1, sums_of(sums).squares() + i);
    });
  }

  std::vector<double> decide(const Evaluated& told) const override {
    std::vector<double> decided(told.numbers, told.numbers + numbers());
    const Numbers after = numbers_of(decided.data());
    const Sums sums = sums_of(const_cast<double*>(told.sums));
    const auto squares = squares_by_parameter(sums);
    for (size_t p = 0; p < parameters_.size(); ++p) {
      const Matrices& m = parameters_[p];
      const GroupOptions group = now(m.group, told.at);
      if (told.round == 0) after.size(p) = root_mean(squares[p], m.extent.size());
      if (told.round == 1) take_rows(m, group, told.at, sums, after);
      if (told.round == 2) after.step(p) = step(group, told.at, after.size(p), root_mean(squares[p], m.extent.size()));
    }
    if (told.round == 1) take_columns(told.at, sums, after);
    return decided;
  }

  void update(Extent range, const Moment& at, const UpdateBuffers& buffers) const override {
    const Numbers numbers = numbers_of(const_cast<double*>(buffers.numbers));
    for_each_piece(pieces_, range, [&](size_t i, Extent part) {
      const int p = pieces_[i].parameter;
      const GroupOptions group = now(parameters_[p].group, at);
      float block[kBlock];
      change(p, part, at, buffers, block);
      moved(buffers.weights_in + part.begin, static_cast<float>(1 - group.lr * group.weight_decay),
            static_cast<float>(numbers.step(p)), block, buffers.weights_out + part.begin, part.size());
    });
    clear_padding(range, streams_of(buffers));
  }

 private:
  void update_group(const GroupOptions&, Extent, int64_t, float, const Streams&) const override {}

  Numbers numbers_of(double* numbers) const {
    return {numbers, static_cast<int64_t>(parameters_.size()), rows_, columns_};
  }
  Sums sums_of(double* sums) const { return {sums, floats_, static_cast<int64_t>(pieces_.size()), rows_}; }

  static float scale(const GroupOptions& group, const UpdateBuffers& buffers) {
    return group.maximize ? -buffers.gradient_scale : buffers.gradient_scale;
  }

  /// The gradient, to be read by everybody, and squares of the weights.
  void gather(Extent range, const Moment&, const UpdateBuffers& buffers, const Sums& sums) const {
    for_each_piece(pieces_, range, [&](size_t i, Extent part) {
      scaled(buffers.gradient + part.begin, buffers.gradient_scale, sums.gradient() + part.begin, part.size());
      float block[kBlock] = {};
      std::copy(buffers.weights_in + part.begin, buffers.weights_in + part.end, block);
      kernels_.block_norms(block, 1, 1, sums.squares() + i);
    });
  }

  /// Squares of the gradient, of strips that begin in the range.
  void add_up(Extent range, const Sums& sums) const {
    auto strip = std::ranges::lower_bound(by_place_, range.begin, {}, &Strip::first);
    for (; strip != by_place_.end() && strip->first < range.end; ++strip) {
      const Matrices& m = parameters_[strip->parameter];
      double* rows = sums.rows() + m.first.row + strip->matrix * m.rows;
      double* columns = sums.columns(*strip);
      std::fill_n(columns, m.columns, 0.0);
      const float* row = sums.gradient() + strip->first;
      for (int64_t r = strip->begin; r < strip->end; ++r, row += m.row_stride)
        rows[r] = add_squares(row, m.column_stride, m.columns, columns);
    }
  }

  void change(int parameter, Extent part, const Moment& at, const UpdateBuffers& buffers, float* out) const {
    const Matrices& m = parameters_[parameter];
    const GroupOptions group = now(m.group, at);
    const Numbers numbers = numbers_of(const_cast<double*>(buffers.numbers));
    for_each_run(m, part, [&](Extent run, RowColumn places, RowColumn step) {
      changes(buffers.gradient + run.begin, scale(group, buffers), numbers.shares() + places.row, step.row,
              numbers.columns() + places.column, step.column, keras_ ? 0 : group.eps1 * group.eps1,
              out + (run.begin - part.begin), run.size());
    });
  }

  std::vector<double> squares_by_parameter(const Sums& sums) const {
    std::vector<double> squares(parameters_.size());
    for (size_t i = 0; i < pieces_.size(); ++i) squares[pieces_[i].parameter] += sums.squares()[i];
    return squares;
  }

  static double part_of_new(const GroupOptions& group, const Moment& at) {
    return std::pow(static_cast<double>(at.age()), group.beta2_decay);
  }

  /// Keras adds it to each square.
  double more(const GroupOptions& group) const { return keras_ ? group.eps1 : 0; }

  void take_rows(const Matrices& m, const GroupOptions& group, const Moment& at, const Sums& sums,
                 const Numbers& after) const {
    const double *squares = sums.rows() + m.first.row, fresh = part_of_new(group, at);
    double *rows = after.rows() + m.first.row, *shares = after.shares() + m.first.row;
    for (int64_t matrix = 0; matrix < m.count; ++matrix, rows += m.rows, shares += m.rows, squares += m.rows) {
      double sum = 0;
      for (int64_t r = 0; r < m.rows; ++r) {
        const double mean = squares[r] / static_cast<double>(m.columns) + more(group);
        sum += rows[r] = lerp(rows[r], mean, fresh);
      }
      const double mean = sum / static_cast<double>(m.rows);
      const double whole = !m.factored ? 1 : keras_ ? mean : mean < group.eps1 ? group.eps1 : mean;
      for (int64_t r = 0; r < m.rows; ++r) shares[r] = rows[r] / whole;
    }
  }

  /// Over strips, which follow each other matrix by matrix.
  void take_columns(const Moment& at, const Sums& sums, const Numbers& after) const {
    for (size_t i = 0; i < strips_.size();) {
      const Strip& first = strips_[i];
      const Matrices& m = parameters_[first.parameter];
      const GroupOptions group = now(m.group, at);
      std::vector<double> squares(m.columns);
      for (; i < strips_.size() && strips_[i].parameter == first.parameter && strips_[i].matrix == first.matrix; ++i)
        for (int64_t c = 0; c < m.columns; ++c) squares[c] += sums.columns(strips_[i])[c];
      double* columns = after.columns() + m.first.column + first.matrix * m.columns;
      for (int64_t c = 0; c < m.columns; ++c)
        columns[c] = m.factored ? lerp(columns[c], squares[c] / static_cast<double>(m.rows) + more(group),
                                       part_of_new(group, at))
                                : 1;
    }
  }

  /// `size`: of the weights, `change`: of what changes them, root mean squares.
  double step(const GroupOptions& group, const Moment& at, double size, double change) const {
    const double kept = keras_ ? std::abs(1 - group.lr * group.weight_decay) : 1;  // Keras decays weights first
    const double rate = std::min(group.lr, 1 / std::sqrt(static_cast<double>(at.age())));
    return std::max(group.eps2, size * kept) * rate / std::max(1.0, change / group.d);
  }

  const bool keras_;
  const int64_t floats_;
  const std::vector<Piece> pieces_;
  const std::vector<Matrices> parameters_;
  const std::vector<Strip> strips_;
  std::vector<Strip> by_place_;
  int64_t rows_ = 0, columns_ = 0, strip_columns_ = 0;
};

}  // namespace

std::unique_ptr<Optimizer> make_adafactor(const OptimizerOptions& options, const Arena& arena, Isa isa) {
  return std::make_unique<Adafactor>(options, arena, isa);
}

}  // namespace stoker::optim
