#pragma once
// A line search for the strong Wolfe conditions (Nocedal and Wright, "Numerical Optimization", 2006, algorithms 3.5 and
// 3.6) that asks for one evaluation at a time: all that it knows between two of them is numbers, so that it may be
// committed, and gone on with by somebody else. Choices of trial points are those of torch.optim.LBFGS.
#include <optional>

namespace stoker::optim {

/// Where the gradient at a point lies before the update that follows an evaluation.
enum class Place : int { start = 0, first = 1, second = 2, now = 3 };

/// A step along the direction, and what was found there. Whole numbers of all kinds are doubles, as they are committed.
struct WolfePoint {
  double step = 0;
  double loss = 0;
  double slope = 0;  // of the loss along the direction
  double place = 0;  // Place
};

struct WolfeRules {
  double tolerance_change = 1e-9;  // a bracket that moves no weight by more is not cut any more
  int most = 25;                   // evaluations after the first one
};

struct WolfeSearch {
  double step = 0;  // of the evaluation that is wanted
  double loss = 0, slope = 0;
  double evaluations = 0;  // after the first one
  double zooms = 0;        // whether the bracket is found
  double short_of = 0;     // whether the last cut came too near the bracket's end
  double low = 0;          // the bracket's better end: 0 or 1
  WolfePoint ends[2];      // while it is sought, the first one is the point before
};

WolfeSearch begin_search(double step, double loss, double slope);

/// After the evaluation at search.step; `largest`: the direction's largest number, by its size. Gives the point that is
/// taken, or nothing, and then search.step is where to evaluate next.
std::optional<WolfePoint> advance(WolfeSearch& search, double loss, double slope, double largest,
                                  const WolfeRules& rules);

}  // namespace stoker::optim
