"""The learning rate range test: one short fit whose rate grows from step to step, and what its losses say.

Smith, 2017, "Cyclical Learning Rates for Training Neural Networks", arXiv 1506.01186, section 3.3. The suggestion is
that of the "steep" rule of fastai's lr_find.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stoker.callback import Control
from stoker.errors import UserError
from stoker.events import Event, Metrics
from stoker.plain import is_finite

SMOOTHING = 0.9  # of the mean that follows the losses
EXPLODED = 4  # times the best smoothed loss
FEWEST = 10  # steps
# What a user may have set, and a test of rates does without: it ends as it began.
_LEFT_OUT = ("maxSeconds", "averageWeights", "validationIndicatorCol", "validationFraction", "evalMetrics", "groupCol",
             "earlyStopping", "restoreBest", "checkpointDir", "saveOptimizer")  # fmt: skip


class RangeTest:
    """What `find_learning_rate` found: lists `rates` (of learning, in the order of the steps), `losses` (of the rows of
    a step, before it is taken) and `smoothed`, and `stopped`, whether the loss had exploded before the highest rate.

    Example:
        >>> from stoker import RangeTest
        >>> falling = [2.0, 2.0, 2.0, 1.9, 1.6, 1.2, 0.9, 0.8, 0.9, 3.0]
        >>> test = RangeTest([10.0**exponent for exponent in range(-8, 2)], falling)
        >>> test.suggestion
        0.001
    """

    def __init__(self, rates: Iterable[float] = (), losses: Iterable[float] = ()) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.stopped = False
        self._mean = 0.0
        for rate, loss in zip(rates, losses):
            self.add(rate, loss)

    def add(self, rate: float, loss: float) -> None:
        """The next step's."""
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * loss
        self.rates.append(rate)
        self.losses.append(loss)
        self.smoothed.append(self._mean / (1 - SMOOTHING ** len(self.losses)))

    @property
    def exploded(self) -> bool:
        """Whether the newest smoothed loss is no number, or 4 times the best one."""
        if not self.smoothed:
            return False
        best = min(self.smoothed)
        return not self.smoothed[-1] <= best + (EXPLODED - 1) * abs(best)

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls most from step to step, the first tenth of the steps aside.

        Raises:
            UserError: the losses never fall.
        """
        at = steepest_fall(self.smoothed)
        if at is None:
            raise UserError(f"the loss fell at none of the rates that were tried ({self._tried()}), so none can be "
                            "suggested: try lower ones (lowest=), or look whether the model learns at all")  # fmt: skip
        return self.rates[at]

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a row per step: learning_rate, loss, smoothed_loss."""
        import pandas as pd

        return pd.DataFrame({"learning_rate": self.rates, "loss": self.losses, "smoothed_loss": self.smoothed})

    def plot(self, ax: Any = None) -> Any:
        """Draws losses over rates, and the suggestion where there is one, into matplotlib axes, new ones by default,
        and gives them.

        Raises:
            UserError: there is no matplotlib.
        """
        try:
            from matplotlib import pyplot
        except ImportError:
            raise UserError("plot needs matplotlib, which is not installed: pip install matplotlib, or take "
                            "to_pandas()") from None  # fmt: skip
        axes = ax if ax is not None else pyplot.subplots()[1]
        axes.plot(self.rates, self.losses, alpha=0.3, label="loss")
        axes.plot(self.rates, self.smoothed, label="smoothed")
        if steepest_fall(self.smoothed) is not None:
            axes.axvline(self.suggestion, linestyle="--", color="gray", label=f"suggestion: {self.suggestion:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.legend()
        return axes

    def __repr__(self) -> str:
        falls = steepest_fall(self.smoothed) is not None
        found = f"suggestion {self.suggestion:.3g}" if falls else "no suggestion"
        return f"RangeTest: {found}, {self._tried()}{', where the loss exploded' if self.stopped else ''}"

    def _tried(self) -> str:
        if not self.rates:
            return "0 steps"
        return f"{len(self.rates)} steps from {self.rates[0]:.3g} to {self.rates[-1]:.3g}"


def steepest_fall(values: Sequence[float]) -> int | None:
    """Where the fall from the value before to the one after is largest; None where none fall. The first tenth, means of
    few, are left out."""
    falls = {i: values[i - 1] - values[i + 1] for i in range(max(1, len(values) // 10), len(values) - 1)}
    at = max(falls, key=falls.__getitem__, default=None)
    return at if at is not None and falls[at] > 0 else None


class Recorder:
    """A sink of a fit's events that fills a test, and ends the fit when the loss explodes. One thread."""

    def __init__(self, test: RangeTest, lowest: float, growth: float, control: Control) -> None:
        self._test, self._lowest, self._growth, self._control = test, lowest, growth, control
        self._last = Metrics(rank=0, step=0, epoch=0, step_of_epoch=0, steps_of_epoch=0, epochs=0, loss_sum=0.0)

    def event(self, event: Event) -> None:
        """Losses of steps are differences of an epoch's sums, which are the same on every rank."""
        if not isinstance(event, Metrics) or event.step <= self._last.step or self._test.stopped:
            return
        before = self._last if self._last.epoch == event.epoch else None
        steps = event.step_of_epoch - (before.step_of_epoch if before else 0)
        self._last = event
        self._test.add(self._lowest * self._growth ** (event.step - (steps + 1) / 2), loss_between(before, event))
        if self._test.exploded:
            self._test.stopped = True
            self._control.wish(stop=True)


def loss_between(before: Metrics | None, now: Metrics) -> float:
    """The mean loss of the steps of an epoch from one word to the next."""
    total = math.nan if now.loss_sum is None else now.loss_sum
    weight = now.loss_weight
    if before is not None:
        total, weight = total - (before.loss_sum or 0.0), weight - before.loss_weight
    return total / weight if weight else math.nan


def find(estimator: Any, df: Any, lowest: float, highest: float, steps: int) -> RangeTest:
    """By a fit of a copy of the estimator, whose model is dropped."""
    check(estimator, lowest, highest, steps)
    growth = (highest / lowest) ** (1 / (steps - 1))
    test = RangeTest()
    trial = trial_of(estimator, lowest, growth, steps)
    trial._fit_watched(df, lambda control: Recorder(test, lowest, growth, control))
    return test


def trial_of(estimator: Any, lowest: float, growth: float, steps: int) -> Any:
    """The estimator of the short fit. No epoch is without a step, so there are enough."""
    changed = {"learningRate": lowest, "lrSchedule": {"name": "exponential", "gamma": growth},
               "lrScheduleUnit": "steps", "maxSteps": steps, "epochs": steps, "onNaN": "continue",
               "callbacks": [], "verbose": 0}  # fmt: skip
    if (initial := estimator.value("initialModel")) is not None:
        changed["initialModel"] = initial.without_optimizer()
    settings = estimator.value("optimizerParams")
    if settings:
        changed["optimizerParams"] = {key: value for key, value in settings.items() if key != "lr"}
    trial = estimator.copy({estimator.getParam(name): value for name, value in changed.items()})
    for name in _LEFT_OUT:
        trial.clear(trial.getParam(name))
    return trial


def check(estimator: Any, lowest: float, highest: float, steps: int) -> None:
    """UserError where no test can be made."""
    if not (is_finite(lowest) and is_finite(highest) and 0 < lowest < highest):
        raise UserError(f"find_learning_rate: lowest is {lowest!r} and highest {highest!r}; expected two numbers above "
                        "0, the lower one first")  # fmt: skip
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < FEWEST:
        raise UserError(f"find_learning_rate: steps is {steps!r}, expected a whole number of at least {FEWEST}")
    optimizer = estimator.value("optimizer")
    if (optimizer if isinstance(optimizer, str) else type(optimizer).__name__).lower() == "lbfgs":
        raise UserError("find_learning_rate: L-BFGS finds the length of each step by itself")
    groups = (estimator.value("optimizerParams") or {}).get("groups") or []
    if any(isinstance(group, Mapping) and "lr" in group for group in groups):
        raise UserError("find_learning_rate: optimizerParams has a group with a learning rate of its own, which "
                        "learningRate would not change: leave its 'lr' out for the test")  # fmt: skip
