#include "optim/adafactor.h"

#include <algorithm>
#include <cmath>

#include "base/clones.h"
#include "base/error.h"
#include "base/pieces.h"
#include "optim/grouped.h"
#include "optim/matrices.h"
#include "optim/pieces.h"
#include "optim/tiles.h"

namespace stoker::optim {
namespace {

/// Second moments along a run: products of numbers of rows and of columns.
void moments(const double* rows, const double* columns, RowColumn step, double* out, int64_t count) {
  if (step.row == 0 && step.column == 1)
    for (int64_t i = 0; i < count; ++i) out[i] = rows[0] * columns[i];
  else
    for (int64_t i = 0; i < count; ++i) out[i] = rows[i * step.row] * columns[i * step.column];
}

/// What the weights are changed by, before it is clipped.
STOKER_CLONES void changes(const float* g, float scale, const double* moments, double least, float* out,
                           int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    out[i] =
        static_cast<float>(static_cast<double>(scale * g[i]) / __builtin_sqrt(moments[i] < least ? least : moments[i]));
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

/// What machines' math libraries make of it may differ in the last bit of a double (as with and without fused
/// multiply-adds), and what follows is committed in double.
double narrow(double value) { return static_cast<float>(value); }

/// A view of the numbers: those that are committed, by row and by column; then of each row what it is by the mean over
/// its matrix, and two of each parameter.
struct Numbers {
  double* at;
  int64_t row_count, column_count;

  double* rows() const { return at; }
  double* columns() const { return at + row_count; }
  double* shares() const { return columns() + column_count; }
  double& size(size_t p) const { return shares()[row_count + 2 * p]; }      // root mean square of the weights
  double& step(size_t p) const { return shares()[row_count + 2 * p + 1]; }  // what the change is multiplied by
};

/// A view of the sums: the gradient; a number for each piece, of the weights' squares and then of the changes'; squares
/// of the gradient by row and by column.
struct Sums {
  double* at;
  int64_t floats, pieces;

  float* gradient() const { return reinterpret_cast<float*>(at); }
  double* squares() const { return at + floats / 2; }
  double* tiles() const { return squares() + pieces; }
};

class Adafactor : public GroupedOptimizer {
 public:
  Adafactor(const OptimizerOptions& options, const Arena& arena, Isa isa)
      : GroupedOptimizer(options, arena, isa),
        keras_(options.name == "keras_adafactor"),
        floats_(arena.floats()),
        pieces_(pieces_of(arena)),
        parameters_(matrices_of(arena)),
        tiles_(parameters_) {
    for (const Matrices& m : parameters_) {
      rows_ += m.row_count();
      columns_ += m.column_count();
    }
  }

  int state_buffers() const override { return 0; }
  std::vector<std::string> state_names() const override { return {}; }
  int rounds() const override { return 3; }
  int64_t numbers() const override { return rows_ + columns_; }
  int64_t scratch() const override { return rows_ + 2 * static_cast<int64_t>(parameters_.size()); }
  int64_t sums() const override { return floats_ / 2 + static_cast<int64_t>(pieces_.size()) + tiles_.size(); }

  void measure(int round, Extent range, const Moment& at, const UpdateBuffers& buffers, double* sums) const override {
    STOKER_CHECK(range.begin % kBlock == 0 && range.size() % kBlock == 0);
    if (round == 0) return gather(range, buffers, sums_of(sums));
    if (round == 1) return tiles_.add_up(tiles_in(range), sums_of(sums).gradient(), sums_of(sums).tiles());
    const auto groups = all_now(at);
    for_each_piece(pieces_, range, [&](size_t i, Extent part) {
      const Matrices& m = parameters_[pieces_[i].parameter];
      float block[kBlock] = {};
      change(m, groups[m.group], part, buffers, block);
      kernels_.block_norms(block, 1, 1, sums_of(sums).squares() + i);
    });
  }

  void decide(const Evaluated& told, double* decided) const override {
    const Numbers after = numbers_of(decided);
    const Sums sums = sums_of(const_cast<double*>(told.sums));
    const auto groups = all_now(told.at);
    if (told.round == 1) return take_moments(groups, told.at, sums, after);
    const auto squares = squares_by_parameter(sums);
    for (size_t p = 0; p < parameters_.size(); ++p) {
      const Matrices& m = parameters_[p];
      const double mean = root_mean(squares[p], m.extent.size());
      if (told.round == 0) after.size(p) = mean;
      if (told.round == 2) after.step(p) = step(groups[m.group], told.at, after.size(p), mean);
    }
  }

  void update(Extent range, const Moment& at, const UpdateBuffers& buffers) const override {
    const Numbers numbers = numbers_of(const_cast<double*>(buffers.numbers));
    const auto groups = all_now(at);
    for_each_piece(pieces_, range, [&](size_t i, Extent part) {
      const int p = pieces_[i].parameter;
      const GroupOptions& group = groups[parameters_[p].group];
      float block[kBlock];
      change(parameters_[p], group, part, buffers, block);
      moved(buffers.weights_in + part.begin, static_cast<float>(1 - group.lr * group.weight_decay),
            static_cast<float>(numbers.step(p)), block, buffers.weights_out + part.begin, part.size());
    });
    clear_padding(range, streams_of(buffers));
  }

 private:
  void update_group(const GroupOptions&, Extent, int64_t, float, const Streams&) const override {}

  Numbers numbers_of(double* numbers) const { return {numbers, rows_, columns_}; }
  Sums sums_of(double* sums) const { return {sums, floats_, static_cast<int64_t>(pieces_.size())}; }

  /// By group.
  std::vector<GroupOptions> all_now(const Moment& at) const {
    std::vector<GroupOptions> all;
    for (size_t g = 0; g < groups_.size(); ++g) {
      all.push_back(now(static_cast<int>(g), at));
      all.back().lr = narrow(all.back().lr);
    }
    return all;
  }

  static float scale(const GroupOptions& group, const UpdateBuffers& buffers) {
    return group.maximize ? -buffers.gradient_scale : buffers.gradient_scale;
  }

  /// The gradient, to be read by everybody, and squares of the weights.
  void gather(Extent range, const UpdateBuffers& buffers, const Sums& sums) const {
    for_each_piece(pieces_, range, [&](size_t i, Extent part) {
      scaled(buffers.gradient + part.begin, buffers.gradient_scale, sums.gradient() + part.begin, part.size());
      float block[kBlock] = {};
      std::copy(buffers.weights_in + part.begin, buffers.weights_in + part.end, block);
      kernels_.block_norms(block, 1, 1, sums.squares() + i);
    });
  }

  /// Those that go with a range: as large a part of all, wherever they lie, as all of the gradient stands.
  Extent tiles_in(Extent range) const {
    return {tiles_.tiles() * range.begin / floats_, tiles_.tiles() * range.end / floats_};
  }

  void change(const Matrices& m, const GroupOptions& group, Extent part, const UpdateBuffers& buffers,
              float* out) const {
    const Numbers numbers = numbers_of(const_cast<double*>(buffers.numbers));
    double block[kBlock];
    for_each_run(m, part, [&](Extent run, RowColumn places, RowColumn step) {
      moments(numbers.shares() + places.row, numbers.columns() + places.column, step, block + (run.begin - part.begin),
              run.size());
    });
    changes(buffers.gradient + part.begin, scale(group, buffers), block, keras_ ? 0 : group.eps1 * group.eps1, out,
            part.size());
  }

  std::vector<double> squares_by_parameter(const Sums& sums) const {
    std::vector<double> squares(parameters_.size());
    for (size_t i = 0; i < pieces_.size(); ++i) squares[pieces_[i].parameter] += sums.squares()[i];
    return squares;
  }

  void take_moments(const std::vector<GroupOptions>& groups, const Moment& at, const Sums& sums,
                    const Numbers& after) const {
    for (size_t p = 0; p < parameters_.size(); ++p) {
      const Matrices& m = parameters_[p];
      const GroupOptions& group = groups[m.group];
      const double fresh = narrow(std::pow(static_cast<double>(at.age()), group.beta2_decay));
      const Parts rows = tiles_.rows(p, sums.tiles()), columns = tiles_.columns(p, sums.tiles());
      in_pieces(m.count, kPieceRows, [&](int64_t begin, int64_t count) {
        for (int64_t matrix = begin; matrix < begin + count; ++matrix) {
          take_rows(m, matrix, group, fresh, rows, after);
          take_columns(m, matrix, group, fresh, columns, after);
        }
      });
    }
  }

  /// Keras adds it to each square.
  double more(const GroupOptions& group) const { return keras_ ? group.eps1 : 0; }

  /// Of a matrix, by which its rows are divided.
  double whole(const GroupOptions& group, double mean) const {
    return !keras_ && mean < group.eps1 ? group.eps1 : mean;
  }

  void take_rows(const Matrices& m, int64_t matrix, const GroupOptions& group, double fresh, const Parts& squares,
                 const Numbers& after) const {
    const int64_t first = matrix * m.rows;
    double *rows = after.rows() + m.first.row + first, *shares = after.shares() + m.first.row + first, sum = 0;
    for (int64_t r = 0; r < m.rows; ++r) {
      const double mean = squares[first + r] / static_cast<double>(m.columns) + more(group);
      sum += rows[r] = lerp(rows[r], mean, fresh);
    }
    const double mean = m.factored ? whole(group, sum / static_cast<double>(m.rows)) : 1;
    for (int64_t r = 0; r < m.rows; ++r)
      shares[r] = m.lone ? rows[r] / whole(group, rows[r]) * rows[r] : rows[r] / mean;
  }

  void take_columns(const Matrices& m, int64_t matrix, const GroupOptions& group, double fresh, const Parts& squares,
                    const Numbers& after) const {
    const int64_t first = matrix * m.columns;
    double* columns = after.columns() + m.first.column + first;
    for (int64_t c = 0; c < m.columns; ++c) {
      const double mean = squares[first + c] / static_cast<double>(m.rows) + more(group);
      columns[c] = m.factored ? lerp(columns[c], mean, fresh) : 1;
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
  const TileSums tiles_;
  int64_t rows_ = 0, columns_ = 0;
};

}  // namespace

std::unique_ptr<Optimizer> make_adafactor(const OptimizerOptions& options, const Arena& arena, Isa isa) {
  return std::make_unique<Adafactor>(options, arena, isa);
}

}  // namespace stoker::optim
