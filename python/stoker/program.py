"""A compiled model as plain data: two programs (docs/formats/program.md) and the weights that go with them.

Nothing here imports torch, so that Spark workers may use it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

FORMAT = "stoker-program"
VERSION = 1
VERSIONS = (1, 2)  # 2 has nodes of mixed precision
EVALUATION = "eval.json"  # not in every saved model
FILES = ("train.json", "infer.json", "weights.safetensors")


@dataclass(frozen=True)
class TensorSpec:
    """One input or label: its name, its dtype, and the shape of one row."""

    name: str
    dtype: str = "float32"
    shape: tuple[int, ...] = ()


def is_lookup(dtype: str) -> bool:
    """Whether a tensor holds whole numbers: values are checked to be whole, never cut."""
    return not dtype.startswith("float")


@dataclass
class Compiled:
    """What the front end hands over.

    ``weights`` holds parameters, buffers and constants of both programs by name. A name that begins with ``$`` is
    internal (a literal, a buffer that is not saved, something of the loss); all others are the user's state_dict, in
    the programs' layouts.
    """

    train: dict
    infer: dict
    weights: dict[str, np.ndarray]
    output_shapes: dict[str, tuple[int, ...]]
    notes: list[str] = field(default_factory=list)
    evaluation: dict | None = None  # the loss in evaluation mode, where it was asked for

    def given(self) -> dict[str, np.ndarray]:
        """The weights as the user's model has them."""
        return {name: self.as_given(name, array) for name, array in self.weights.items()}

    def state(self) -> dict[str, np.ndarray]:
        """The user's state_dict; tied weights under each of their names."""
        weights = self.given()
        state = {name: values for name, values in weights.items() if not name.startswith("$")}
        for entry in self.train["parameters"]:
            state.update(dict.fromkeys(entry["aliases"], weights[entry["name"]]))
        return state

    def as_given(self, name: str, array: np.ndarray) -> np.ndarray:
        """What is stored like a parameter or constant of the training program, as the user's model has it."""
        layout = self._layouts().get(name)
        return array if layout is None else np.ascontiguousarray(array.transpose(layout))

    def as_stored(self, name: str, array: np.ndarray) -> np.ndarray:
        """The way back."""
        layout = self._layouts().get(name)
        return array if layout is None else np.ascontiguousarray(array.transpose(np.argsort(layout)))

    def read(self) -> list[str]:
        """The names of the weights that training and inference read."""
        kinds = ("parameters", "buffers", "constants")
        return list(dict.fromkeys(entry["name"] for program in (self.train, self.infer) for kind in kinds
                                  for entry in program[kind]))  # fmt: skip

    def with_given(self, weights: Mapping[str, np.ndarray]) -> Compiled:
        """The same with these weights, which are as the user's model has them, in the place of its own."""
        return replace(self, weights={**self.weights, **{name: self.as_stored(name, array)
                                                         for name, array in weights.items()}})  # fmt: skip

    def _layouts(self) -> dict[str, list[int]]:
        entries = [*self.train["parameters"], *self.train["constants"]]
        return {entry["name"]: entry["layout"] for entry in entries if "layout" in entry}

    @property
    def coupled(self) -> bool:
        """Whether a row's part in training depends on the rows beside it."""
        return "coupled" in self.train

    def to_files(self) -> dict[str, bytes]:
        train = dict(self.train, notes=self.notes)
        evaluation = {EVALUATION: _to_json(self.evaluation)} if self.evaluation is not None else {}
        return {
            "train.json": _to_json(train),
            "infer.json": _to_json(self.infer),
            **evaluation,
            "weights.safetensors": save_weights(self.weights),
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Compiled:
        missing = [name for name in FILES if name not in files]
        if missing:
            raise ValueError(f"this is not a saved Stoker model: {', '.join(missing)} is missing")
        train = load_program(files["train.json"], "train.json", "train")
        infer = load_program(files["infer.json"], "infer.json", "infer")
        evaluation = load_program(files[EVALUATION], EVALUATION, "eval") if EVALUATION in files else None
        weights = load_weights(files["weights.safetensors"])
        _check_weights([train, infer, *([evaluation] if evaluation else [])], weights)
        shapes = {output["name"]: tuple(output["shape"]) for output in infer["outputs"]}
        return cls(train, infer, weights, shapes, list(train.pop("notes", [])), evaluation)


def is_mixed(program: Mapping) -> bool:
    """Whether it is of mixed precision."""
    return any("autocast" in node for node in program["nodes"])


def given_shape(entry: Mapping) -> tuple[int, ...]:
    """The shape that a parameter, buffer or constant of a program has in the user's model."""
    shape = entry["shape"]
    return tuple(shape[dim] for dim in entry["layout"]) if "layout" in entry else tuple(shape)


def load_program(data: bytes, name: str, kind: str) -> dict:
    """Reads one program; ValueError says what is wrong with a truncated, foreign or newer one."""
    try:
        program = json.loads(data)
    except ValueError as error:
        raise ValueError(f"{name} is not JSON, it may be truncated ({error})") from None
    if not isinstance(program, dict) or program.get("format") != FORMAT:
        raise ValueError(f"{name} is not a Stoker program")
    if program.get("version") not in VERSIONS:
        raise ValueError(f"{name} has version {program.get('version')} of the format; this Stoker reads "
                         f"{' and '.join(map(str, VERSIONS))}")  # fmt: skip
    if program.get("kind") != kind:
        raise ValueError(f"{name} is a program of kind {program.get('kind')!r}, not {kind!r}")
    return program


def save_weights(weights: Mapping[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    # safetensors writes the memory as it lies, so it must lie in C order
    return save({name: np.require(array, requirements="C") for name, array in sorted(weights.items())})


_LINE = 64  # bytes: what begins at a multiple of it is used where it lies (engine/program/weights.h)


def save_aligned(weights: Mapping[str, np.ndarray]) -> bytes:
    """As save_weights(), but each tensor begins at a multiple of 64 bytes: where one ends elsewhere, a tensor of zeros
    follows, whose name begins with ``$gap``."""
    filled: dict[str, np.ndarray] = {}
    for name, array in sorted(weights.items()):
        filled[name] = np.require(array, requirements="C")
        if gap := -array.nbytes % _LINE:
            filled[f"$gap {name}"] = np.zeros(gap, np.uint8)
    header, at = {}, 0
    for name, array in filled.items():
        header[name] = {"dtype": _code(array.dtype), "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % _LINE)
    parts = [array.reshape(-1).view(np.uint8).data for array in filled.values()]
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def _code(dtype: np.dtype) -> str:
    """The name that safetensors has for it."""
    return "BOOL" if dtype.kind == "b" else f"{dtype.kind.upper()}{8 * dtype.itemsize}"


def weights_to_train(compiled: Compiled, begun: Mapping[str, np.ndarray] | None = None) -> dict[str, bytes]:
    """What workers need, as safetensors: 'initial', which the training changes, with the state of an optimizer that has
    begun, and 'constants', if there are any."""

    def those(program: dict | None, *kinds: str) -> dict[str, np.ndarray]:
        return {
            entry["name"]: compiled.weights[entry["name"]] for kind in kinds for entry in (program or {}).get(kind, [])
        }

    initial = those(compiled.train, "parameters", "buffers")
    read = those(compiled.evaluation, "parameters", "buffers", "constants")
    constants = those(compiled.train, "constants") | {name: read[name] for name in read.keys() - initial.keys()}
    return {"initial": save_weights({**initial, **(begun or {})}),
            "constants": save_aligned(constants) if constants else b""}  # fmt: skip


def load_weights(data: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(bytes(data))
    except SafetensorError as error:
        raise ValueError(f"these weights are not a whole safetensors file ({error})") from None


def _to_json(program: dict) -> bytes:
    return json.dumps(program, separators=(",", ":"), allow_nan=False).encode()


def _check_weights(programs: list[dict], weights: Mapping[str, np.ndarray]) -> None:
    for program in programs:
        for entry in (*program["parameters"], *program["buffers"], *program["constants"]):
            name, shape = entry["name"], tuple(entry["shape"])
            if name not in weights:
                raise ValueError(f"weights.safetensors lacks {name!r} of {program['kind']}.json")
            if weights[name].shape != shape:
                raise ValueError(
                    f"weights.safetensors has {name!r} with shape {list(weights[name].shape)}, "
                    f"{program['kind']}.json with {list(shape)}"
                )
