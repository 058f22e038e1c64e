"""The parameters of a fit, read once and checked. Below this file nobody reads a parameter by its name
(scripts/check_params.py)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from stoker import evaluation, strategy
from stoker.callback import Callback, Control
from stoker.checkpoint.course import Wish
from stoker.errors import UserError
from stoker.fit import strategies
from stoker.fit.names import Naming, checked
from stoker.observe import Sink
from stoker.spark.limits.sizes import parse_size
from stoker.spark.outputs import KINDS
from stoker.spark.placement import Held, Placement
from stoker.spark.supervise import Rules

Value = Callable[[str], Any]
"""A parameter's value by its name, None where it has none."""

Watch = Callable[[Control], Sink]

SHORTEST_SILENCE = 1  # seconds
MOST_SHARDS = 32_768  # the engine's kMostShards
_LEARNT = ("given", "label_words")
_NO_PARAMS = ("estimator", "coupled", "watch", "more")
USUAL_SHARDS = 8
ROWS_OF_A_BATCH = 16  # that a shard should have
_POSITIVE = ("batch_size", "accumulate", "epochs", "max_steps", "num_workers", "min_workers", "num_shards", "threads",
             "checkpoint_interval", "checkpoint_keep", "validation_interval")  # fmt: skip
_NOT_NEGATIVE = ("clip_norm", "clip_value", "learning_rate", "seed", "start_timeout", "worker_timeout", "max_restarts")
_CHOICES = {
    "assign": ("hash", "partition"),
    "on_bad_row": ("error", "skip"),
    "on_nan": ("error", "continue", "skip"),
    "on_worker_lost": ("wait", "continue"),
    "on_changed_rows": ("error", "continue"),
    "loss_reduction": ("mean", "sum", "none"),
    "output_kind": ("auto", *KINDS),
    "lr_schedule_unit": ("steps", "epochs"),
    "scale_rate": ("linear", "sqrt"),
    "batch_norm": ("shard", "batch"),
    "precision": ("fp32", "bf16"),
    "reduce_dtype": ("fp32", "bf16"),
    "checkpoint_unit": ("epochs", "steps", "seconds"),
}


@dataclass(frozen=True)
class FitSettings:
    """Each field but the last four is the parameter of that name; docs are theirs (stoker/ml/params.py)."""

    batch_size: int
    accumulate: int
    epochs: int
    seed: int
    shuffle: bool
    clip_norm: float
    clip_value: float
    on_nan: str
    on_bad_row: str
    strategy: Mapping[str, Any]
    average_weights: Mapping[str, Any] | None
    learning_rate: float | None
    lr_schedule: Mapping[str, Any] | None
    lr_schedule_unit: str
    max_steps: int | None
    max_seconds: float | None
    callbacks: Sequence[Callback] | None
    scale_rate: str | None
    batch_norm: str
    loss_reduction: str | None
    output_kind: str | None
    class_weight: Mapping[str, float] | str | None
    freeze: Sequence[str] | Mapping[str, str] | None
    cache_frozen: bool
    precision: str
    reduce_dtype: str
    save_optimizer: bool

    num_workers: int
    min_workers: int | None
    num_shards: int | None
    threads: int | None
    assign: str
    id_col: str | None
    direct_scan: bool
    store_memory: int | str | None
    start_timeout: float
    heartbeat_timeout: float
    worker_timeout: float
    on_worker_lost: str
    max_restarts: int
    on_changed_rows: str
    verbose: int

    validation_indicator_col: str | None
    validation_fraction: float | None
    validation_interval: int | None
    eval_metrics: Sequence[str] | None
    early_stopping: Mapping[str, Any] | None
    restore_best: bool

    checkpoint_dir: str | None
    checkpoint_interval: int
    checkpoint_unit: str
    checkpoint_keep: int

    estimator: str = ""  # its uid
    coupled: bool = False  # whether the model's or the loss's rows depend on the rows beside them
    watch: Watch | None = None  # makes a sink that is told of each step, and may end the fit
    more: Mapping[str, Any] = field(default_factory=dict)  # of the coordinator's options, for tests

    @classmethod
    def of(cls, value: Value, **not_params: Any) -> FitSettings:
        """Of parameters, and of what is none. UserError says what cannot be."""
        told = {one.name: value(param_of(one.name)) for one in fields(cls) if one.name not in _NO_PARAMS}
        settings = cls(**told, **not_params)
        for check in (_check_ranges, _check_gang, _check_validation, _check_strategy, _check_reduced, _check_batch_norm,
                      _check_kept):  # fmt: skip
            check(settings)
        return settings

    @property
    def whole_batch(self) -> bool:
        """Whether batch norms go by the whole batch."""
        return self.batch_norm == "batch"

    @property
    def shards(self) -> int:
        return self.num_shards or default_shards(self)

    @property
    def step_rows(self) -> int:
        return self.batch_size * self.accumulate

    @property
    def validates(self) -> bool:
        return bool(self.validation_indicator_col) or self.validation_fraction is not None

    @property
    def placement(self) -> Placement:
        held = Held(self.validation_indicator_col or "", self.validation_fraction or 0.0) if self.validates else None
        return Placement(self.num_workers, self.shards, self.assign, self.id_col, held)

    @property
    def rules(self) -> Rules:
        return Rules(self.min_workers, self.max_restarts, self.worker_timeout, self.on_worker_lost == "continue")

    @property
    def checkpoints(self) -> Wish | None:
        if self.checkpoint_dir is None:
            return None
        return Wish(self.checkpoint_dir, self.checkpoint_interval, self.checkpoint_unit, self.checkpoint_keep)

    @property
    def coordinator_options(self) -> dict[str, Any]:
        return {"allow_changed_rows": self.on_changed_rows == "continue", **self.more}

    @property
    def stopping(self) -> dict[str, Any]:
        """Of the engine's evaluation."""
        metrics = self.eval_metrics or []
        legs = {"every": self.validation_interval} if self.validation_interval else {}
        plateau = {"plateau": evaluation.plateau(self.lr_schedule or {}, metrics)} if self.follows_score else {}
        return {**evaluation.rules(self.early_stopping, metrics, self.restore_best), **legs, **plateau}

    @property
    def follows_score(self) -> bool:
        return (self.lr_schedule or {}).get("name") == "plateau"


def naming_of(params: Any) -> Naming:
    """Of an estimator or a model, checked."""
    asked = {one.name: params.value(param_of(one.name)) for one in fields(Naming) if one.name not in _LEARNT}
    given = [param_of(name) for name, value in asked.items() if value is not None and params.isSet(param_of(name))]
    if "weightCol" not in given or not asked["weight_col"]:
        asked["weight_col"] = None
    asked["group_col"] = asked["group_col"] or None
    return checked(Naming(**asked, given=frozenset(given), label_words=params._label_words))


def validates(value: Value) -> bool:
    """Whether rows are held out, before the settings of a fit are made."""
    return bool(value("validationIndicatorCol")) or value("validationFraction") is not None


def param_of(name: str) -> str:
    """As users write it."""
    first, *rest = name.split("_")
    return "onNaN" if name == "on_nan" else first + "".join(map(str.title, rest))


def _check_ranges(told: FitSettings) -> None:
    for name in _POSITIVE:
        if (value := getattr(told, name)) is not None and not value >= 1:
            raise UserError(f"{param_of(name)} must be at least 1, not {value}")
    if told.max_seconds is not None and not told.max_seconds > 0:
        raise UserError(f"maxSeconds must be more than 0, not {told.max_seconds:g}; leave it out to train all epochs")
    for name in _NOT_NEGATIVE:
        if (value := getattr(told, name)) is not None and not value >= 0:
            raise UserError(f"{param_of(name)} must not be negative, it is {value}")
    for name, choices in _CHOICES.items():
        if (value := getattr(told, name)) is not None and value not in choices:
            raise UserError(f"{param_of(name)} must be one of {', '.join(map(repr, choices))}, not {value!r}")
    if told.store_memory is not None:
        parse_size(told.store_memory, "storeMemory")
    if told.learning_rate == math.inf:
        raise UserError("learningRate must be a number that is finite, it is inf")


def default_shards(told: FitSettings) -> int:
    """The smallest multiple of the workers that is at least 8, so that their work is even, and 1, 2, 4 and 8 workers
    train one model. One for each worker where a shard is more than a part of the rows, or would have few of
    a batch."""
    shards = -(-USUAL_SHARDS // told.num_workers) * told.num_workers
    more_than_a_part = told.coupled or told.assign == "partition" or strategy.has_replicas(told.strategy)
    return told.num_workers if more_than_a_part or told.batch_size < shards * ROWS_OF_A_BATCH else shards


def _check_gang(told: FitSettings) -> None:
    if not told.heartbeat_timeout >= SHORTEST_SILENCE:
        raise UserError(f"heartbeatTimeout must be at least {SHORTEST_SILENCE} s, not {told.heartbeat_timeout:g}: "
                        f"the silence of a busy moment would count as a death")  # fmt: skip
    workers, shards = told.num_workers, told.shards
    if shards < workers:
        raise UserError(f"numShards ({shards}) must not be smaller than numWorkers ({workers}): a worker owns shards")
    name = "numShards" if told.num_shards else "numWorkers"
    if told.batch_size < shards:
        raise UserError(f"batchSize ({told.batch_size}) is smaller than {name} ({shards}): a step takes rows of each")
    if shards > MOST_SHARDS:
        raise UserError(f"{name} ({shards}) must not be larger than {MOST_SHARDS}")
    if told.min_workers is not None and told.min_workers > workers:
        raise UserError(f"minWorkers ({told.min_workers}) must not be larger than numWorkers ({workers})")
    if told.assign == "partition":
        _check_partitions(told)


def _check_partitions(told: FitSettings) -> None:
    workers, shards = told.num_workers, told.shards
    if (told.min_workers or workers) != workers:
        raise UserError("assign='partition' makes each partition a shard with its own worker: leave minWorkers out")
    if shards != workers:
        raise UserError(
            f"assign='partition' makes each partition a shard with a worker of its own, so numShards ({shards}) must "
            f"equal numWorkers ({workers})"
        )
    if told.id_col:
        raise UserError("idCol decides nothing with assign='partition'; set one of them only")


def _check_validation(told: FitSettings) -> None:
    mark, fraction = told.validation_indicator_col, told.validation_fraction
    if mark and fraction is not None:
        raise UserError(f"validationIndicatorCol ('{mark}') and validationFraction ({fraction:g}) both say which rows "
                        "are held out: set one of them only")  # fmt: skip
    if fraction is not None and not 0 < fraction < 1:
        raise UserError(f"validationFraction must lie between 0 and 1, not {fraction:g}; leave it out to hold no rows "
                        "out")  # fmt: skip
    if told.validates and told.shards > MOST_SHARDS // 2:
        raise UserError(f"numShards ({told.shards}) must not be larger than {MOST_SHARDS // 2} where rows are "
                        "held out for validation")  # fmt: skip
    for name in ("early_stopping", "restore_best"):
        if getattr(told, name) and not told.validates:
            raise UserError(f"{param_of(name)} follows a score of rows that are held out, and none are: set "
                            "validationFraction or validationIndicatorCol")  # fmt: skip
    if told.validation_interval and not told.validates:
        raise UserError("validationInterval says when rows that are held out are evaluated, and none are: set "
                        "validationFraction or validationIndicatorCol")  # fmt: skip
    if told.validation_interval and told.on_changed_rows == "continue":
        raise UserError("validationInterval does not go with onChangedRows='continue': how many evaluations there are "
                        "follows from the rows; leave one of them out")  # fmt: skip
    if told.follows_score and not told.validates:
        raise UserError("lrSchedule: 'plateau' follows a score of rows that are held out, and none are: set "
                        "validationFraction or validationIndicatorCol")  # fmt: skip
    if told.validates:
        _ = told.stopping


def _check_strategy(told: FitSettings) -> None:
    if strategy.is_local(told.strategy) and told.average_weights:
        raise UserError(f"averageWeights does not go with strategy {told.strategy['name']!r}, whose shards take steps "
                        "alone: leave one of them out")  # fmt: skip
    strategies.check_order(told.strategy, told.shards, told.on_nan)


def _check_reduced(told: FitSettings) -> None:
    if told.reduce_dtype == "bf16" and strategy.tells_less(told.strategy):
        raise UserError("reduceDtype='bf16' is for gradients that are added up as they are, and strategy "
                        f"{told.strategy['name']!r} tells them in fewer numbers: leave one of them out")  # fmt: skip
    if told.reduce_dtype == "bf16" and strategy.is_local(told.strategy):
        raise UserError(f"reduceDtype='bf16' is for the gradients of each step, and with strategy "
                        f"{told.strategy['name']!r} shards take steps alone: leave one of them out"
                        f"{', or set its compress' if 'compress' in told.strategy else ''}")  # fmt: skip


def _check_kept(told: FitSettings) -> None:
    if told.save_optimizer and strategy.is_local(told.strategy):
        raise UserError(f"saveOptimizer does not go with strategy {told.strategy['name']!r}, whose shards have "
                        "optimizers of their own: leave one of them out")  # fmt: skip


def _check_batch_norm(told: FitSettings) -> None:
    if not told.whole_batch:
        return
    if strategy.tells_less(told.strategy):
        raise UserError(f"batchNorm='batch' does not go with strategy {told.strategy['name']!r}: leave one of them out")
    if strategy.is_local(told.strategy):
        raise UserError(f"batchNorm='batch' needs all shards at each batch norm, and with strategy "
                        f"{told.strategy['name']!r} they take steps alone: leave one of them out")  # fmt: skip
    if told.accumulate > 1:
        raise UserError("batchNorm='batch' needs the rows of a step at the same time, and accumulate runs them one "
                        "after the other: leave one of them out")  # fmt: skip
