#include "collective/sum_program.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "base/bf16.h"
#include "base/error.h"
#include "base/pulse.h"
#include "collective/add.h"

namespace stoker::collective {
namespace {

/// An expression: a source, or the sum of two expressions.
struct Expression {
  int source = -1;
  std::unique_ptr<Expression> left, right;
  bool is_source() const { return source >= 0; }
};
using Tree = std::unique_ptr<Expression>;

Tree build(Node node, const std::vector<Node>& leaves) {
  const auto found = std::find(leaves.begin(), leaves.end(), node);
  if (found != leaves.end())
    return std::make_unique<Expression>(Expression{static_cast<int>(found - leaves.begin()), nullptr, nullptr});
  if (node.hi - node.lo < 2) return nullptr;
  Tree left = build({node.lo, split(node)}, leaves);
  Tree right = build({split(node), node.hi}, leaves);
  if (!left || !right) return left ? std::move(left) : std::move(right);
  return std::make_unique<Expression>(Expression{-1, std::move(left), std::move(right)});
}

int count_sources(const Expression& e) { return e.is_source() ? 1 : count_sources(*e.left) + count_sources(*e.right); }

}  // namespace

struct SumProgram::Compiler {
  using Kind = Instruction::Kind;
  bool in_pairs = false;  // one addition an instruction
  std::vector<Instruction> instructions = {};
  int rows_in_use = 0;
  int rows = 0;

  /// Emits one instruction for `e` and, before it, those of its terms. A + B = B + A to the bit, so every shape of up
  /// to four terms is one of the four kinds.
  int compile(const Expression& e) {
    if (e.is_source()) return e.source;
    const Expression *l = e.left.get(), *r = e.right.get();
    if (l->is_source()) std::swap(l, r);
    if (l->is_source() || in_pairs) return emit(Kind::add_2, {l, r});
    if (!r->is_source()) return emit(Kind::pairs_4, {l->left.get(), l->right.get(), r->left.get(), r->right.get()});
    const Expression *ll = l->left.get(), *lr = l->right.get();
    if (ll->is_source()) std::swap(ll, lr);
    if (ll->is_source()) return emit(Kind::chain_3, {ll, lr, r});
    return emit(Kind::chain_4, {ll->left.get(), ll->right.get(), lr, r});
  }

  int emit(Kind kind, std::initializer_list<const Expression*> terms) {
    Instruction instruction{kind, {0, 0, 0, 0}, 0};
    const int rows_before = rows_in_use;
    std::transform(terms.begin(), terms.end(), instruction.terms, [this](const Expression* t) { return compile(*t); });
    rows_in_use = rows_before;  // the terms' rows are free again; the result may lie in the first of them
    instruction.row = rows_in_use++;
    rows = std::max(rows, rows_in_use);
    instructions.push_back(instruction);
    return -1 - instruction.row;
  }
};

SumProgram::SumProgram(Node root, const std::vector<Node>& leaves, int64_t rounded)
    : sources_(static_cast<int>(leaves.size())), rounded_(rounded), terms_(leaves.size()) {
  const Tree tree = build(root, leaves);
  STOKER_CHECK((tree ? count_sources(*tree) : 0) == sources_);
  Compiler compiler{rounded > 0};
  if (tree) compiler.compile(*tree);
  instructions_ = std::move(compiler.instructions);
  scratch_.resize(compiler.rows);
}

void SumProgram::run(std::span<const Source> sources, Range range, std::span<float* const> outs) {
  STOKER_CHECK(static_cast<int>(sources.size()) == sources_ && !outs.empty());
  for (Range block{range.begin, 0}; block.begin < range.end; block.begin = block.end) {
    block.end = std::min(range.end, block.begin + kChunk);
    if (block.begin < rounded_) block.end = std::min(block.end, rounded_);
    float* first = outs[0] + block.begin;
    run_block(sources, block, first);
    for (float* out : outs.subspan(1)) std::memcpy(out + block.begin, first, block.size() * sizeof(float));
    pulse::beat();
  }
}

void SumProgram::place_terms(std::span<const Source> sources, Range block) {
  for (size_t i = 0; i < sources.size(); ++i) {
    const Source& source = sources[i];
    if (source.packed && block.begin < rounded_) {
      unpacked_.resize(sources.size());
      unpack_bf16(source.packed + (block.begin - source.packed_origin), unpacked_[i].floats, block.size());
      terms_[i] = unpacked_[i].floats;
    } else {
      terms_[i] = source.at(block.begin);
    }
  }
}

void SumProgram::run_block(std::span<const Source> sources, Range block, float* out) {
  const int64_t n = block.size();
  place_terms(sources, block);
  if (sources_ == 0) std::fill(out, out + n, 0.0f);
  if (sources_ == 1) std::memmove(out, term(0), n * sizeof(float));
  const auto add = block.begin < rounded_ ? add_2_bf16 : add_2;
  for (const auto& i : instructions_) {
    float* to = &i == &instructions_.back() ? out : row(i.row);
    const float *a = term(i.terms[0]), *b = term(i.terms[1]), *c = term(i.terms[2]), *d = term(i.terms[3]);
    switch (i.kind) {
      case Instruction::Kind::add_2:
        add(to, a, b, n);
        break;
      case Instruction::Kind::chain_3:
        add_chain_3(to, a, b, c, n);
        break;
      case Instruction::Kind::chain_4:
        add_chain_4(to, a, b, c, d, n);
        break;
      case Instruction::Kind::pairs_4:
        add_pairs_4(to, a, b, c, d, n);
        break;
    }
  }
}

}  // namespace stoker::collective
