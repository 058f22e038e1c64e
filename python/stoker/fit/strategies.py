"""A strategy as a fit takes it: with the program of an outer step that is a user's function, and held against the fit's
other settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoker import order
from stoker.errors import UserError
from stoker.strategy import Settings, as_strategy, in_turns, is_local, pushes

_MANY = 8  # shards whose full steps of Adam add up to too much
_SGD, _BY_NORMS = ("sgd", "keras_sgd"), ("lars", "lamb", "keras_lamb")  # optimizers


def as_compiled(value: Any) -> Settings:
    """What stoker.strategy.as_strategy gives, without functions, so that it can be saved and sent. CompileError says
    what a function may not do."""
    told = as_strategy(value)
    if not callable(told.get("outer")):
        return told
    from stoker.frontend.outer import compile_outer

    return {**told, "outer": compile_outer(told["outer"], told["state"])}


def check_order(strategy: Mapping[str, Any], shards: int, on_nan: str) -> None:
    """What an order of pushes other than turns does not go with."""
    if in_turns(strategy):
        return
    recorded = order.is_record(strategy["order"])
    what = "strategy: a recorded order" if recorded else "strategy: order='arrival'"
    if shards == 1:
        raise UserError(f"{what} with one shard: nobody could arrive before it; set numShards, or take order='turns'")
    if shards > order.MOST_SHARDS:
        raise UserError(f"{what} is for at most {order.MOST_SHARDS} shards, and numShards is {shards}")
    if on_nan == "skip":
        raise UserError(f"{what} does not go with onNaN='skip': pushes that come to nothing are in no order; take "
                        "order='turns', or another onNaN")  # fmt: skip
    if recorded and (most := max(order.unpacked(strategy["order"]))) >= shards:
        raise UserError(f"{what} has a push of shard {most}, and the fit has {shards} shards (numShards): it is the "
                        "order of another fit")  # fmt: skip


def _has_momentum(options: Mapping[str, Any]) -> bool:
    cycled = (options.get("schedule") or {}).get("cycle_momentum", False)
    return cycled or any(group.get("momentum") for group in options["groups"])


def check_optimizer(strategy: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """What an optimizer, as engine/optim/optimizer.h reads it, does not go with."""
    if strategy["name"] == "hogwild" and (options["name"] in _BY_NORMS or options.get("clip")):
        raise UserError(f"strategy: Hogwild does not go with {options['name']!r} by norms of whole tensors, which are "
                        "not there between two pushes: take another optimizer, or Downpour")  # fmt: skip
    if strategy["name"] == "eamsgd" and (options["name"] not in _SGD or _has_momentum(options)):
        raise UserError("strategy: EAMSGD has the momentum itself: give it optimizer='sgd' without momentum, also in "
                        "lrSchedule (cycle_momentum=False), or take AEASGD, which goes with any optimizer")  # fmt: skip


def notes_of(strategy: Mapping[str, Any], shards: int, options: Mapping[str, Any], assign: str) -> list[str]:
    """What a user should know who may not have meant it."""
    name, notes = strategy["name"], []
    if is_local(strategy) and shards > 1 and assign == "partition":
        notes.append(f"strategy {name!r} with assign='partition': between two exchanges a shard learns from the rows "
                     "of its partition alone, so partitions that are sorted, by label or by time, cost accuracy; leave "
                     "assign at 'hash', or shuffle the rows before")  # fmt: skip
    if pushes(strategy) and in_turns(strategy) and shards == 1:
        notes.append(f"strategy {name!r} with one shard: there is nobody to be asynchronous to; set numShards")
    if "beta" in strategy and strategy["beta"] > shards:
        notes.append(f"strategy {name!r}: the share of the way is beta / numShards = {strategy['beta'] / shards:.3g}; "
                     "above 1 shards and common weights jump past each other, and from a bit above it on they never "
                     "settle")  # fmt: skip
    if name == "downpour" and shards >= _MANY and options["name"] not in _SGD:
        notes.append(f"strategy 'downpour' adds up what {shards} shards moved by, whatever the gradients are, so "
                     f"{options['name']!r} makes {shards} steps of full size where one process makes one: take a "
                     "smaller learningRate, or DynSGD")  # fmt: skip
    return notes
