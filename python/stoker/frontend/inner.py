"""The value of a layer inside of a model, in the place of what the model gives."""

from __future__ import annotations

import contextlib
import difflib
import functools
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stoker.errors import CompileError
from stoker.frontend import structure
from stoker.frontend.coupling import place_of_coupling
from stoker.frontend.foreign import Foreign
from stoker.frontend.guard import trained_by
from stoker.frontend.interpret import Interpreter
from stoker.frontend.nodes import read_by

Weights = Mapping[str, np.ndarray]
_SHOWN = 3
_KINDS = ("parameters", "buffers", "constants")


def tap(model: nn.Module, layer: str) -> None:
    """From now on forward gives what this layer gives; of several tensors the first. `model` is a copy of the user's
    that is not copied any more."""
    found, forward, held = find(model, layer), model.forward, _Held(layer)

    @functools.wraps(forward)
    def tapped(*args: Any, **named: Any) -> Tensor:
        with held.calls_of(found):
            forward(*args, **named)
        return held.value()

    model.forward = tapped


def before(model: nn.Module, layer: str, inputs: Mapping[str, Tensor]) -> tuple[set[str], list[str]]:
    """Names of the parameters that decide what a layer gives, those that are not trained too, and paths of the layers
    with nothing to train that do, both by autograd's own word; found out by a run in evaluation mode. `model` stays as
    it is."""
    part, held = find(model, layer, "freeze"), _Held(layer, "freeze")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with _Marks(model) as marks, _for_a_look(model), torch.random.fork_rng(devices=[]), held.calls_of(part):
        structure.call(model, dict(inputs))
    deciding = trained_by(held.value())
    return {names[one] for one in deciding if one in names}, marks.among(deciding)


@contextlib.contextmanager
def _for_a_look(model: nn.Module) -> Iterator[None]:
    """In evaluation mode, with gradients of all parameters."""
    modes = {part: part.training for part in model.modules()}
    frozen = [parameter for parameter in model.parameters()
              if not parameter.requires_grad and parameter.is_floating_point()]  # fmt: skip
    model.eval()
    try:
        for parameter in frozen:
            parameter.requires_grad_(True)
        with torch.enable_grad():
            yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        for part, training in modes.items():
            part.training = training


class _Marks:
    """Adds a zero of its own to what each layer gives that has nothing to train, so that autograd knows these too."""

    def __init__(self, model: nn.Module):
        layers = layers_of(model)
        around = {path[:place] for path in layers for place, letter in enumerate(path) if letter in "./"}
        self._layers = {path: part for path, part in layers.items() if path not in around
                        and not any(parameter.requires_grad for parameter in part.parameters())}  # fmt: skip
        self._zeros = {path: torch.zeros((), requires_grad=True) for path in self._layers}
        self._handles: list[Any] = []

    def __enter__(self) -> _Marks:
        self._handles = [part.register_forward_hook(functools.partial(self._mark, path))
                         for path, part in self._layers.items()]  # fmt: skip
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()

    def _mark(self, path: str, part: nn.Module, args: Any, output: Any) -> Any:
        return output + self._zeros[path] if torch.is_tensor(output) and output.is_floating_point() else output

    def among(self, deciding: Container[int]) -> list[str]:
        return [path for path, zero in self._zeros.items() if id(zero) in deciding]


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """By path, without the model itself; of a Keras model, whose paths begin with the model's name, by name too."""
    if not isinstance(model, Foreign):
        return {path: part for path, part in model.named_modules(remove_duplicate=False) if path}
    by_path = model.named_layers()
    names = [path.rpartition("/")[2] for path in by_path]
    return by_path | {name: part for name, part in zip(names, by_path.values()) if names.count(name) == 1}


class _Held:
    """What a layer gave in one run of the model."""

    def __init__(self, layer: str, param: str = "layer"):
        self.layer, self.param = layer, param
        self.given: list[Tensor] = []

    @contextlib.contextmanager
    def calls_of(self, part: nn.Module) -> Iterator[None]:
        self.given = []
        handle = part.register_forward_hook(self._keep)
        try:
            yield
        finally:
            handle.remove()

    def _keep(self, part: nn.Module, args: Any, output: Any) -> None:
        tensors = structure.leaves(output)
        if not tensors:
            raise CompileError(f"{self.param}: {self.layer!r} ({type(part).__name__}) gives no tensor")
        self.given.append(tensors[0][1].clone())  # what follows may write into it

    def value(self) -> Tensor:
        if len(self.given) == 1:
            return self.given[0]
        times = f"is called {len(self.given)} times" if self.given else "is not called"
        raise CompileError(f"{self.param}: {self.layer!r} {times} when the model runs, so it has no one value for a "
                           "row: name the layer around it, or another one")  # fmt: skip


def find(model: nn.Module, layer: str, param: str = "layer") -> nn.Module:
    return _found(layers_of(model), layer, param)


def _found(known: Mapping[str, Any], layer: str, param: str = "layer") -> Any:
    if layer in known:
        return known[layer]
    near = difflib.get_close_matches(layer, known, _SHOWN) or list(known)[: 2 * _SHOWN]
    told = f"the nearest are {', '.join(map(repr, near))}" if near else "it has none inside"
    raise CompileError(f"{param}: the model has no layer {layer!r}; {told}")


def cut(infer: dict, weights: Weights, layer: str) -> tuple[dict, dict[str, np.ndarray]]:
    """The part of an inference program that gives what a layer of the model gives, and the weights that it reads, where
    the program alone is left of the model: its operators know their layers."""
    nodes = infer["nodes"]
    paths = [_path(node["where"]) for node in nodes]
    known = {path[:end] for path in paths for end in _ends(path)}
    _found(dict.fromkeys(sorted(known)), layer)
    inside = [path == layer or path.startswith(f"{layer}.") for path in paths]
    last = max(number for number, within in enumerate(inside) if within)
    outer = [node for node, within in zip(nodes, inside) if not within]
    read = _read(outer) | {output["slot"] for output in infer["outputs"]}
    made = {slot for node, within in zip(nodes, inside) if within for slot in node["out"] if slot in read}
    if len(made) != 1:
        raise CompileError(f"layer: {layer!r} gives {len(made)} values to the rest of the saved model, so which is "
                           "meant is not known: name another layer, or give the model itself")  # fmt: skip
    part = _until(infer, last, made.pop())
    read_by = weights_of(part, weights)
    if (place := place_of_coupling(part, read_by)) is not None:
        part["coupled"] = place
    part["outputs"][0]["shape"] = shapes(part, read_by)[0]
    return part, read_by


def _path(where: str) -> str:
    first = where.partition(", ")[0]
    return first.partition(" (")[0] if " (" in first else ""


def _ends(path: str) -> Iterable[int]:
    return [place for place, letter in enumerate(path) if letter == "."] + ([len(path)] if path else [])


def _read(nodes: Iterable[dict]) -> set[int]:
    return {slot for node in nodes for slot in read_by(node)}


def _until(infer: dict, last: int, slot: int) -> dict:
    """All operators up to there: one that is left out could write into what others read."""
    nodes = infer["nodes"][: last + 1]
    read = _read(nodes)
    kept = {kind: [entry for entry in infer[kind] if entry["slot"] in read] for kind in _KINDS}
    rest = {name: value for name, value in infer.items() if name != "coupled"}
    return {**rest, **kept, "nodes": nodes, "outputs": [{"name": "output", "slot": slot, "shape": [-1]}]}


def weights_of(program: dict, weights: Weights) -> dict[str, np.ndarray]:
    """Those that it reads."""
    return {entry["name"]: weights[entry["name"]] for kind in _KINDS for entry in program[kind]}


def shapes(program: dict, weights: Weights) -> list[list[int]]:
    """Of a row of each output; found out on two rows of zeros."""
    values = {e["slot"]: torch.from_numpy(np.array(weights[e["name"]])) for kind in _KINDS for e in program[kind]}
    for entry in program["inputs"]:
        values[entry["slot"]] = torch.zeros((2, *entry["shape"]), dtype=getattr(torch, entry["dtype"]))
    with torch.no_grad():
        slots = Interpreter(program).run(values)
    return [list(slots[output["slot"]].shape[1:]) for output in program["outputs"]]
