"""What the user says about the optimizer, in the engine's words (engine/optim/optimizer.h).

A name with settings, also by patterns of parameters' names, or a torch.optim instance over the model's own parameters:
its class, groups and settings are read, it is never stepped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from stoker.errors import UserError, did_you_mean
from stoker.plain import is_finite
from stoker.schedule import complete

BASE_BATCH = 256  # rows, of which rates are told where they are scaled
Options = dict[str, Any]  # {"name": ..., "groups": [{...}, ...]}
Groups = dict[str, int]  # parameter name to group

_COMMON = {"lr": float, "weight_decay": float, "maximize": bool}
_BETAS = {**_COMMON, "betas": tuple, "eps": float}
_SETTINGS: dict[str, dict[str, type]] = {
    "sgd": {**_COMMON, "momentum": float, "dampening": float, "nesterov": bool},
    "adam": {**_BETAS, "amsgrad": bool},
    "adamw": {**_BETAS, "amsgrad": bool},
    "rmsprop": {**_COMMON, "alpha": float, "eps": float, "momentum": float, "centered": bool},
    "adagrad": {**_COMMON, "lr_decay": float, "initial_accumulator_value": float, "eps": float},
    "adadelta": {**_COMMON, "rho": float, "eps": float},
    "adamax": _BETAS,
    "nadam": {**_BETAS, "momentum_decay": float, "decoupled_weight_decay": bool},
    "radam": {**_BETAS, "decoupled_weight_decay": bool},
    "lion": {**_COMMON, "betas": tuple},
    "lars": {**_COMMON, "momentum": float, "trust_coefficient": float, "eps": float, "adapt": bool},
    "lamb": {**_BETAS, "adapt": bool},
    "adafactor": {**_COMMON, "beta2_decay": float, "eps": tuple, "d": float},
    "lbfgs": {"lr": float, "max_iter": int, "tolerance_grad": float, "tolerance_change": float, "history_size": int},
}
_MOST_WHOLE = 2**31 - 1
_EXPECTED = {bool: "true or false", int: f"a whole number up to {_MOST_WHOLE}", float: "a number that is finite"}
_CLASSES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adagrad": "Adagrad",
            "adadelta": "Adadelta", "adamax": "Adamax", "nadam": "NAdam", "radam": "RAdam",
            "adafactor": "Adafactor", "lbfgs": "LBFGS"}  # fmt: skip
# By name pattern, in optimizerParams.
_GROUPS, _PARAMS = "groups", "params"
# How torch computes, not what: without meaning for the engine.
_IGNORED = {"params", "param_names", "foreach", "fused", "decoupled_weight_decay"}
# Of one call of LBFGS.step(), which a fit has not.
_OF_CALL = {"max_iter", "max_eval"}
# What lr_schedulers leave in a group.
_OF_SCHEDULERS = {"initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"}
# Fine as long as they are off.
_REFUSED = {"capturable", "differentiable"}


def parse(
    optimizer: Any, learning_rate: float | None, params: Mapping[str, Any], named_parameters: Iterable[tuple[str, Any]],
    scheduled: bool = False,
) -> tuple[Options, Groups]:  # fmt: skip
    """The engine's options, and the group of each parameter. A learning rate that is given holds for every group.
    `scheduled`: an lr_scheduler may be attached to the instance, and is not lost."""
    named = list(named_parameters)
    if isinstance(optimizer, str):
        return _named(optimizer, learning_rate, params, named)
    _check_instance(optimizer, params)
    name = _name_of(optimizer)
    groups = [_read_group(name, _unscheduled(group) if scheduled else group) for group in optimizer.param_groups]
    if name == "adagrad":  # torch begins every group's sums with the constructor's
        begin = _value(name, "initial_accumulator_value", optimizer.defaults["initial_accumulator_value"])
        groups = [{**group, "initial_accumulator_value": begin} for group in groups]
    if learning_rate is not None:
        groups = [{**group, "lr": _value(name, "lr", learning_rate)} for group in groups]
    return {"name": name, "groups": groups}, _members(optimizer, named)


def _named(optimizer: str, learning_rate: float | None, params: Mapping[str, Any],
           named: list[tuple[str, Any]]) -> tuple[Options, Groups]:  # fmt: skip
    """The settings hold for all parameters, but for those that a group of a name pattern has otherwise."""
    name = optimizer.lower()
    if name not in _SETTINGS:
        hint = did_you_mean(name, _SETTINGS) or f", expected one of {_listed(_SETTINGS)} or a torch.optim instance"
        raise UserError(f"optimizer: unknown name {optimizer!r}{hint}")
    if learning_rate is not None and "lr" in params:
        raise UserError("optimizerParams: 'lr' is given and learningRate too; give one of them")
    rate = {} if learning_rate is None else {"lr": learning_rate}
    usual = {key: value for key, value in params.items() if key != _GROUPS}
    told = _told_groups(params.get(_GROUPS, []))
    own = [{key: value for key, value in group.items() if key != _PARAMS} for group in told]
    groups = [_group(name, {**usual, **rate, **more}) for more in [{}, *own]]
    return {"name": name, "groups": groups}, _matched([group[_PARAMS] for group in told], [key for key, _ in named])


def _told_groups(told: Any) -> list[Mapping[str, Any]]:
    if not isinstance(told, (list, tuple)) or not all(isinstance(group, Mapping) for group in told):
        raise UserError(
            f"optimizerParams: 'groups' is {told!r}, expected a list of dicts such as "
            "{'params': '*.bias', 'weight_decay': 0}"
        )
    for group in told:
        if not group.get(_PARAMS):
            raise UserError(f"optimizerParams: the group {dict(group)!r} has no 'params', the names that are in it")
    return list(told)


def _matched(patterns: list[Any], names: list[str]) -> Groups:
    """The first group whose patterns a name matches, or group 0."""
    lists = [[told] if isinstance(told, str) else list(told) for told in patterns]
    found = {
        name: next((i + 1 for i, ps in enumerate(lists) if any(fnmatchcase(name, p) for p in ps)), 0) for name in names
    }
    for i, ps in enumerate(lists):
        if i + 1 not in found.values():
            taken = any(fnmatchcase(name, p) for name in names for p in ps)
            why = "all that match are in groups before it" if taken else f"the model has {_listed(names[:8])}"
            raise UserError(f"optimizerParams: no parameter is in the group of {_listed(ps)}; {why}")
    return found


def _group(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    for key in told:
        if key not in _SETTINGS[name]:
            near = did_you_mean(str(key), _SETTINGS[name]) or f", it has {_listed(_SETTINGS[name])}"
            raise UserError(f"optimizerParams: {name} has no setting {key!r}{near}")
    group = {key: _value(name, key, value) for key, value in told.items()}
    _check_values(name, group)
    return _in_engines_words(name, group)


def _in_engines_words(name: str, group: dict[str, Any]) -> dict[str, Any]:
    """Adafactor's eps are two numbers of a name of their own."""
    return {"epsilons" if (name, key) == ("adafactor", "eps") else key: value for key, value in group.items()}


def _check_values(name: str, group: Mapping[str, Any]) -> None:
    """As torch checks them, so that both refuse the same."""
    import torch

    # What torch has not is checked by one that has its settings.
    like = getattr(torch.optim, _CLASSES.get(name, "Adam"))
    known = group if name in _CLASSES else {key: value for key, value in group.items() if key in _SETTINGS["adam"]}
    try:
        like([torch.zeros(())], **known)
    except ValueError as error:
        raise UserError(f"optimizer {name}: {error}") from None
    for key in ("momentum", "trust_coefficient", "tolerance_grad", "tolerance_change"):
        if group.get(key, 0.0) < 0:
            raise UserError(f"optimizer {name}: {key} is {group[key]}, expected zero or more")
    for key in ("max_iter", "history_size"):
        if group.get(key, 1) < 1:
            raise UserError(f"optimizer {name}: {key} is {group[key]}, expected 1 or more")


def _value(name: str, key: str, value: Any) -> Any:
    kind = _SETTINGS[name][key]
    if kind is tuple:
        return _pair(name, key, value)
    if not _is_of(kind, value):
        raise UserError(f"optimizer {name}: {key} is {value!r}, expected {_EXPECTED[kind]}")
    return kind(value)


def _pair(name: str, key: str, value: Any) -> list[float | None]:
    """The first of Adafactor's eps may be None: float32's own."""
    may_lack = name == "adafactor"
    told = value if isinstance(value, (tuple, list)) and len(value) == 2 else ()
    if told and all(is_finite(one) or (may_lack and one is None and i == 0) for i, one in enumerate(told)):
        return [None if one is None else float(one) for one in told]
    expected = "two numbers, of which the first may be None" if may_lack else "two numbers"
    raise UserError(f"optimizer {name}: {key} is {value!r}, expected {expected}")


def _is_of(kind: type, value: Any) -> bool:
    if kind is bool:
        return isinstance(value, (bool, int))
    return is_finite(value) and (kind is float or (value == int(value) and abs(value) <= _MOST_WHOLE))


def _check_instance(optimizer: Any, params: Mapping[str, Any]) -> None:
    import torch

    if not isinstance(optimizer, torch.optim.Optimizer):
        what = type(optimizer).__name__
        hint = "; give an instance, not the class" if isinstance(optimizer, type) else ""
        raise UserError(
            f"optimizer: got a {what}, expected one of {_listed(_SETTINGS)} or a torch.optim instance{hint}"
        )
    if params:
        raise UserError("optimizerParams: the optimizer is a torch.optim instance, which has its settings already")
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        raise UserError("optimizer: it has a step hook, which would not run on the workers; remove it")
    if any(map(_has_past, optimizer.state.values())):
        raise UserError(
            "optimizer: the torch.optim instance has been stepped already, and its state would be lost; give a new one"
        )


def _has_past(state: Mapping[str, Any]) -> bool:
    """Adagrad has a state before its first step."""
    return bool(state) and float(state.get("step", 1)) > 0


def _name_of(optimizer: Any) -> str:
    import torch

    names = {getattr(torch.optim, kind): name for name, kind in _CLASSES.items()}
    name = names.get(type(optimizer))
    if name is None:
        raise UserError(
            f"optimizer: torch.optim class {type(optimizer).__name__} is not supported, expected one of "
            f"{', '.join(_CLASSES.values())}, or a name: {_listed(_SETTINGS)}"
        )
    if name not in ("adam", "adamw"):
        return name
    decoupled = {bool(group.get("decoupled_weight_decay", False)) for group in optimizer.param_groups}
    if len(decoupled) > 1:
        raise UserError("optimizer: decoupled_weight_decay differs between the groups; it must be the same in all")
    return "adamw" if decoupled == {True} else "adam"


def _read_group(name: str, group: Mapping[str, Any]) -> dict[str, Any]:
    _check_foreign(name, group)
    ours = group if name != "lbfgs" else _of_fit(group)
    return _in_engines_words(name, {key: _value(name, key, ours[key]) for key in _SETTINGS[name] if key in ours})


def _of_fit(group: Mapping[str, Any]) -> dict[str, Any]:
    if group["line_search_fn"] != "strong_wolfe":
        raise UserError(f"optimizer: LBFGS has line_search_fn={group['line_search_fn']!r}; give it "
                        "line_search_fn='strong_wolfe', the only one that is supported")  # fmt: skip
    return {key: value for key, value in group.items() if key not in _OF_CALL}


def check_full_batch(options: Options, told: Any) -> None:
    """What L-BFGS, whose evaluations are of all rows at one point, does not go with; `told`: the fit's settings."""
    if options["name"] != "lbfgs":
        return
    if told.epochs < 2:
        raise UserError("optimizer 'lbfgs' evaluates all rows once an epoch, so with epochs=1 nothing would be "
                        "trained: give epochs as many as evaluations may be made, such as 100")  # fmt: skip
    if told.validation_interval:
        raise UserError("optimizer 'lbfgs' does not go with validationInterval: weights change once an epoch, after "
                        "which rows that are held out are evaluated in any case; leave it out")  # fmt: skip
    wrong = {
        f"strategy {told.strategy['name']!r}": told.strategy["name"] != "allreduce",
        "lrSchedule": told.lr_schedule,
        "scaleRate": told.scale_rate,
        "averageWeights": told.average_weights,
        "clipNorm": told.clip_norm,
        "clipValue": told.clip_value,
        "maxSteps": told.max_steps,
        "batchNorm='batch'": told.whole_batch,
        "accumulate": told.accumulate > 1,
        "reduceDtype='bf16'": told.reduce_dtype == "bf16",
        "onNaN='skip'": told.on_nan == "skip",
        "checkpointUnit='steps'": told.checkpoint_dir and told.checkpoint_unit == "steps",
        "parameter groups": len(options["groups"]) > 1,
        "saveOptimizer": told.save_optimizer,
    }
    if found := [name for name, given in wrong.items() if given]:
        raise UserError(f"optimizer 'lbfgs' does not go with {', '.join(found)}: an evaluation is of all rows, and its "
                        "line search finds the length of each step; leave them out")  # fmt: skip


def check_moments(options: Options, told: Any) -> None:
    """What Adafactor, whose moments are not shaped like the weights, does not go with; `told`: the fit's settings."""
    if not options["name"].endswith("adafactor"):
        return
    wrong = {
        f"strategy {told.strategy['name']!r}": told.strategy["name"] != "allreduce",
        "saveOptimizer": told.save_optimizer,
    }
    if found := [name for name, given in wrong.items() if given]:
        raise UserError(f"optimizer 'adafactor' does not go with {', '.join(found)}: its moments are of rows and "
                        "columns, and no vectors like the weights; leave them out, or take 'adamw'")  # fmt: skip


def with_schedule(options: Options, schedule: Mapping[str, Any] | None, unit: str, epochs: int,
                  rate_given: bool) -> Options:  # fmt: skip
    """The same with a schedule (stoker.schedule); one with rates of its own (OneCycleLR's max_lr) brings them."""
    if schedule is None:
        return options
    told = dict(schedule)
    rates, first, groups = told.pop("max_lr", None), told.pop("first_lr", None), options["groups"]
    if first is not None and rate_given:
        raise UserError(f"lrSchedule is one of Keras, which begins from a learning rate of its own ({first:g}), and "
                        "learningRate is set too: leave one of them out")  # fmt: skip
    if first is not None:
        groups = [{**group, "lr": first} for group in groups]
    if rates is not None and len(rates) != len(groups):
        raise UserError(
            f"lrSchedule: the OneCycleLR is of an optimizer with {len(rates)} groups, and this one has {len(groups)}"
        )
    if rates is not None and not rate_given:
        groups = [{**group, "lr": rate} for group, rate in zip(groups, rates)]
    if told.get("cycle_momentum") and not _SETTINGS.get(options["name"], {}).keys() & {"momentum", "betas"}:
        raise UserError(f"lrSchedule: cycle_momentum=True needs an optimizer with momentum; "
                        f"{options['name'].replace('keras_', 'the Keras optimizer ')} has none")  # fmt: skip
    if told.get("cycle_momentum") and options["name"] == "nadam":
        raise UserError("lrSchedule: cycle_momentum=True does not go with nadam, whose momentum has its own course")
    return {**options, "groups": groups, "schedule": complete(told, unit, epochs)}


def rate_scale(how: str, rows: int) -> float:
    """By what scaleRate multiplies learning rates, which are those of batches of 256 rows: linear by Goyal et al.,
    2017, arXiv 1706.02677, the square root by Krizhevsky, 2014, arXiv 1404.5997."""
    times = rows / BASE_BATCH
    return times if how == "linear" else math.sqrt(times)


def _unscheduled(group: Mapping[str, Any]) -> dict[str, Any]:
    """As it was before an lr_scheduler was attached to it."""
    kept = {key: value for key, value in group.items() if key not in _OF_SCHEDULERS}
    return {**kept, "lr": group.get("initial_lr", group["lr"])}


def _check_foreign(name: str, group: Mapping[str, Any]) -> None:
    for key, value in group.items():
        if key == "initial_lr":
            raise UserError(
                "optimizer: a torch lr_scheduler is attached to it ('initial_lr'), and would have no effect; "
                "give the scheduler too, as lrSchedule="
            )
        if key in _REFUSED and value:
            raise UserError(f"optimizer: {key}={value!r} is not supported")
        if name == "lbfgs" and key in _OF_CALL | {"line_search_fn"}:
            continue
        if key not in _SETTINGS[name] and key not in _IGNORED | _REFUSED:
            raise UserError(f"optimizer: setting {key!r} of {_CLASSES[name]} is not supported")


def _members(optimizer: Any, named: list[tuple[str, Any]]) -> Groups:
    """Groups by identity: every trained parameter must be in one, and none may be of another model."""
    group_of = {id(p): index for index, group in enumerate(optimizer.param_groups) for p in group["params"]}
    strangers = len(group_of.keys() - {id(parameter) for _, parameter in named})
    if strangers:
        raise UserError(
            f"optimizer: {strangers} of its {len(group_of)} parameters are not the model's; "
            "make it from the parameters of the same module object that is given as model"
        )
    missing = [name for name, p in named if id(p) not in group_of and getattr(p, "requires_grad", True)]
    if missing:
        raise UserError(
            f"optimizer: {len(missing)} of the model's parameters are in no group ({_listed(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}); add what is missing, or freeze it with requires_grad_(False)"
        )
    return {name: group_of[id(p)] for name, p in named if id(p) in group_of}


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
