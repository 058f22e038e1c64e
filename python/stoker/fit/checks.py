"""What can be said about parameters before anything is looked at: each check ends in silence or in a UserError."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stoker import evaluation, strategy
from stoker.errors import UserError
from stoker.spark.limits import memory
from stoker.spark.outputs import KINDS

_POSITIVE = ("batchSize", "epochs", "numWorkers", "minWorkers", "numShards", "threads", "checkpointInterval",
             "checkpointKeep")  # fmt: skip
_NOT_NEGATIVE = ("clipNorm", "clipValue", "learningRate", "seed", "startTimeout", "workerTimeout", "maxRestarts")
SHORTEST_SILENCE = 1  # seconds
MOST_SHARDS = 32_768  # the engine's kMostShards
_CHOICES = {
    "assign": ("hash", "partition"),
    "onBadRow": ("error", "skip"),
    "onNaN": ("error", "continue", "skip"),
    "onWorkerLost": ("wait", "continue"),
    "onChangedRows": ("error", "continue"),
    "lossReduction": ("mean", "sum", "none"),
    "outputKind": ("auto", *KINDS),
    "lrScheduleUnit": ("steps", "epochs"),
    "checkpointUnit": ("epochs", "steps", "seconds"),
}


def check_params(value: Callable[[str], Any]) -> None:
    """`value` gives a parameter's value, None where it has none."""
    for name in _POSITIVE:
        if value(name) is not None and not value(name) >= 1:
            raise UserError(f"{name} must be at least 1, not {value(name)}")
    for name in _NOT_NEGATIVE:
        if value(name) is not None and not value(name) >= 0:
            raise UserError(f"{name} must not be negative, it is {value(name)}")
    for name, choices in _CHOICES.items():
        if value(name) is not None and value(name) not in choices:
            raise UserError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value(name)!r}")
    if value("storeMemory") is not None:
        memory.parse_size(value("storeMemory"), "storeMemory")
    if value("batchSize") < shards_of(value):
        raise UserError(f"batchSize ({value('batchSize')}) is smaller than the number of shards ({shards_of(value)})")
    _check_gang(value)
    _check_validation(value)
    _check_strategy(value)


def _check_patience(value: Callable[[str], Any]) -> None:
    if not value("heartbeatTimeout") >= SHORTEST_SILENCE:
        raise UserError(f"heartbeatTimeout must be at least {SHORTEST_SILENCE} s, not {value('heartbeatTimeout'):g}: "
                        f"the silence of a busy moment would count as a death")  # fmt: skip


def validates(value: Callable[[str], Any]) -> bool:
    return bool(value("validationIndicatorCol")) or value("validationFraction") is not None


def _check_validation(value: Callable[[str], Any]) -> None:
    mark, fraction = value("validationIndicatorCol"), value("validationFraction")
    if mark and fraction is not None:
        raise UserError(f"validationIndicatorCol ('{mark}') and validationFraction ({fraction:g}) both say which rows "
                        "are held out: set one of them only")  # fmt: skip
    if fraction is not None and not 0 < fraction < 1:
        raise UserError(f"validationFraction must lie between 0 and 1, not {fraction:g}; leave it out to hold no rows "
                        "out")  # fmt: skip
    if validates(value) and shards_of(value) > MOST_SHARDS // 2:
        raise UserError(f"numShards ({shards_of(value)}) must not be larger than {MOST_SHARDS // 2} where rows are "
                        "held out for validation")  # fmt: skip
    for name in ("earlyStopping", "restoreBest"):
        if value(name) and not validates(value):
            raise UserError(f"{name} follows a score of rows that are held out, and none are: set validationFraction "
                            "or validationIndicatorCol")  # fmt: skip
    if validates(value):
        evaluation.rules(value("earlyStopping"), value("evalMetrics") or [], value("restoreBest"))


def _check_strategy(value: Callable[[str], Any]) -> None:
    told = value("strategy")
    if strategy.is_local(told) and value("averageWeights"):
        raise UserError(f"averageWeights does not go with strategy {told['name']!r}, which averages by itself: leave "
                        "one of them out")  # fmt: skip


def shards_of(value: Callable[[str], Any]) -> int:
    return value("numShards") or value("numWorkers")


def _check_gang(value: Callable[[str], Any]) -> None:
    workers, shards = value("numWorkers"), shards_of(value)
    _check_patience(value)
    if shards < workers:
        raise UserError(f"numShards ({shards}) must not be smaller than numWorkers ({workers}): a worker owns shards")
    if shards > MOST_SHARDS:
        raise UserError(f"numShards ({shards}) must not be larger than {MOST_SHARDS}")
    if value("minWorkers") is not None and value("minWorkers") > workers:
        raise UserError(f"minWorkers ({value('minWorkers')}) must not be larger than numWorkers ({workers})")
    if value("assign") == "partition" and (value("minWorkers") or workers) != workers:
        raise UserError("assign='partition' makes each partition a shard with its own worker: leave minWorkers out")
    if value("assign") == "partition" and shards != workers:
        raise UserError(
            f"assign='partition' makes each partition a shard with a worker of its own, so numShards ({shards}) must "
            f"equal numWorkers ({workers})"
        )
    if value("assign") == "partition" and value("idCol"):
        raise UserError("idCol decides nothing with assign='partition'; set one of them only")


def check_model(model: Any) -> None:
    from torch import nn

    from stoker.frontend.foreign import is_keras

    if model is None:
        raise UserError("model is not set: give the torch.nn.Module to train")
    if isinstance(model, str):
        raise UserError(f"model is a text, {model[:60]!r}: give the torch.nn.Module itself; a grid of parameters that "
                        f"was saved keeps only the texts of modules")  # fmt: skip
    if isinstance(model, type):
        raise UserError(f"model is the class {model.__name__}; give an instance of it, such as {model.__name__}(...)")
    if is_keras(model):
        return  # of whatever backend: as_torch says which it takes
    if not isinstance(model, nn.Module) and not callable(model):
        raise UserError(f"model is a {type(model).__name__}; give the torch.nn.Module to train, or a function without "
                        f"arguments that builds it")  # fmt: skip


def check_built(module: Any) -> None:
    """What the user's function has built."""
    from stoker.fit import compiling

    if not compiling.is_model(module):
        raise UserError(f"model is a function that gave a {type(module).__name__}; it must give the torch.nn.Module to "
                        f"train")  # fmt: skip


def check_compiled(model: Any, is_set: Callable[[str], bool]) -> None:
    """What a Keras model was compiled with is not left out without a word."""
    from stoker.frontend.foreign import is_keras

    if not is_keras(model) or not getattr(model, "compiled", False):
        return
    told = {"optimizer": getattr(model, "optimizer", None), "loss": getattr(model, "loss", None)}
    for param, value in told.items():
        if value is not None and not is_set(param):
            name = value if isinstance(value, str) else getattr(value, "name", type(value).__name__)
            raise UserError(
                f"the Keras model {model.name!r} was compiled with the {param} {name!r}, which is not taken from it: "
                f"set {param} on the estimator"
            )
