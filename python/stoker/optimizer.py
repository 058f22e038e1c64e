"""What the user says about the optimizer, in the engine's words (engine/optim/optimizer.h).

A name with settings, or a torch.optim instance over the model's own parameters: its class, groups and settings are
read, it is never stepped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

from stoker.errors import UserError
from stoker.schedule import complete

Options = dict[str, Any]  # {"name": ..., "groups": [{...}, ...]}
Groups = dict[str, int]  # parameter name to group

_COMMON = {"lr": float, "weight_decay": float, "maximize": bool}
_ADAM = {**_COMMON, "betas": tuple, "eps": float, "amsgrad": bool}
_SETTINGS = {
    "sgd": {**_COMMON, "momentum": float, "dampening": float, "nesterov": bool},
    "adam": _ADAM,
    "adamw": _ADAM,
}
_CLASSES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
# How torch computes, not what: without meaning for the engine.
_IGNORED = {"params", "param_names", "foreach", "fused", "decoupled_weight_decay"}
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
        group = _named_group(optimizer, learning_rate, params)
        return {"name": optimizer.lower(), "groups": [group]}, {name: 0 for name, _ in named}
    _check_instance(optimizer, params)
    name = _name_of(optimizer)
    groups = [_read_group(name, _unscheduled(group) if scheduled else group) for group in optimizer.param_groups]
    if learning_rate is not None:
        groups = [{**group, "lr": float(learning_rate)} for group in groups]
    return {"name": name, "groups": groups}, _members(optimizer, named)


def _named_group(optimizer: str, learning_rate: float | None, params: Mapping[str, Any]) -> dict[str, Any]:
    name = optimizer.lower()
    if name not in _SETTINGS:
        raise UserError(
            f"optimizer: unknown name {optimizer!r}, expected one of {_listed(_SETTINGS)} or a torch.optim instance"
        )
    for key in params:
        if key not in _SETTINGS[name]:
            raise UserError(f"optimizerParams: {name} has no setting {key!r}, it has {_listed(_SETTINGS[name])}")
    if learning_rate is not None and "lr" in params:
        raise UserError("optimizerParams: 'lr' is given and learningRate too; give one of them")
    group = {key: _value(name, key, value) for key, value in params.items()}
    if learning_rate is not None:
        group["lr"] = _value(name, "lr", learning_rate)
    _check_values(name, group)
    return group


def _check_values(name: str, group: Mapping[str, Any]) -> None:
    """As torch checks them, so that both refuse the same."""
    import torch

    try:
        getattr(torch.optim, _CLASSES[name])([torch.zeros(())], **group)
    except ValueError as error:
        raise UserError(f"optimizer {name}: {error}") from None


def _value(name: str, key: str, value: Any) -> Any:
    kind = _SETTINGS[name][key]
    if kind is tuple:
        if not isinstance(value, (tuple, list)) or len(value) != 2 or not all(_is_number(beta) for beta in value):
            raise UserError(f"optimizer {name}: {key} is {value!r}, expected two numbers")
        return [float(beta) for beta in value]
    if not (isinstance(value, (bool, int)) if kind is bool else _is_number(value)):
        raise UserError(
            f"optimizer {name}: {key} is {value!r}, expected {'true or false' if kind is bool else 'a number'}"
        )
    return kind(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


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
    if any(optimizer.state.values()):
        raise UserError(
            "optimizer: the torch.optim instance has been stepped already, and its state would be lost; give a new one"
        )


def _name_of(optimizer: Any) -> str:
    import torch

    names = {torch.optim.SGD: "sgd", torch.optim.Adam: "adam", torch.optim.AdamW: "adamw"}
    name = names.get(type(optimizer))
    if name is None:
        raise UserError(
            f"optimizer: torch.optim class {type(optimizer).__name__} is not supported, expected SGD, Adam or AdamW"
        )
    if name == "sgd":
        return name
    decoupled = {bool(group.get("decoupled_weight_decay", False)) for group in optimizer.param_groups}
    if len(decoupled) > 1:
        raise UserError("optimizer: decoupled_weight_decay differs between the groups; it must be the same in all")
    return "adamw" if decoupled == {True} else "adam"


def _read_group(name: str, group: Mapping[str, Any]) -> dict[str, Any]:
    _check_foreign(name, group)
    return {key: _value(name, key, group[key]) for key in _SETTINGS[name] if key in group}


def with_schedule(options: Options, schedule: Mapping[str, Any] | None, unit: str, epochs: int,
                  rate_given: bool) -> Options:  # fmt: skip
    """The same with a schedule (stoker.schedule); one with rates of its own (OneCycleLR's max_lr) brings them."""
    if schedule is None:
        return options
    told = dict(schedule)
    rates, groups = told.pop("max_lr", None), options["groups"]
    if rates is not None and len(rates) != len(groups):
        raise UserError(
            f"lrSchedule: the OneCycleLR is of an optimizer with {len(rates)} groups, and this one has {len(groups)}"
        )
    if rates is not None and not rate_given:
        groups = [{**group, "lr": rate} for group, rate in zip(groups, rates)]
    momentum = set().union(*(group.keys() for group in groups)) | _SETTINGS[options["name"]].keys()
    if told.get("cycle_momentum") and not momentum & {"momentum", "betas"}:
        raise UserError(f"lrSchedule: cycle_momentum=True needs an optimizer with momentum; {options['name']} has none")
    return {**options, "groups": groups, "schedule": complete(told, unit, epochs)}


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
