"""What is exchanged in Keras while its model is traced, in one table. Entered under the lock of the trace.

The names are private to Keras, so each has bounds of the versions that it was tried with. One that is not there, takes
other arguments or is of another version stays what it is: such models compile more slowly or to slower programs, or
not at all, and a note says so.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import torch

from stoker.frontend.foreign import version_of
from stoker.frontend.keras import normalising, recurrent

_DRAWING = ("rand", "randn", "normal", "randint", "bernoulli", "multinomial")
_BACKEND, _TORCH = "keras.src.backend", "keras.src.backend.torch"


class _WithoutGenerator:
    """torch for keras.random: given generator=None it would take overloads that know no symbolic sizes."""

    def __getattr__(self, name: str):
        found = getattr(torch, name)
        return _dropping_none(found) if name in _DRAWING else found


def _dropping_none(function):
    def call(*args, generator=None, **kwargs):
        if generator is not None:
            kwargs["generator"] = generator
        return function(*args, **kwargs)

    return call


def _symbolic(cast: Callable) -> Callable:
    def call(x, dtype):
        if isinstance(x, torch.SymInt):
            known = importlib.import_module(f"{_TORCH}.core").to_torch_dtype(dtype)
            return torch.scalar_tensor(x, dtype=known)
        return cast(x, dtype)

    return call


def _viewed(_: Callable) -> Callable:
    def transpose(inputs):
        return torch.permute(inputs, (0, inputs.ndim - 1, *range(1, inputs.ndim - 1)))

    return transpose


@dataclass(frozen=True)
class Exchange:
    where: str  # a module
    name: str  # in it
    arguments: str | None  # of what is exchanged; None: not a function
    make: Callable[[Any], Any]  # from what was there
    why: str
    versions: tuple[tuple[int, int], tuple[int, int]] = ((3, 15), (3, 16))  # of Keras, tried: from, up to and without


TABLE = [
    Exchange(f"{_TORCH}.random", "torch_seed_generator", "seed", lambda _: lambda seed: None,
             "the seed is a number of the tensor's values; the engine draws by keys of its own"),
    Exchange(f"{_TORCH}.random", "torch", None, lambda _: _WithoutGenerator(), "the same"),
    Exchange(_BACKEND, "cast", "x dtype", _symbolic, "activity regularisers divide by the number of rows, a symbol"),
    Exchange(f"{_TORCH}.core", "cast", "x dtype", _symbolic, "the same"),
    Exchange(f"{_TORCH}.nn", "_transpose_spatial_inputs", "inputs", _viewed,
             "each convolution and pooling would copy its input to channels-first: a view will do"),
    Exchange("keras.layers", "BatchNormalization.call", "self inputs training mask", normalising.batch_norm,
             "14 operators become one, and the variance is not a difference of two large numbers"),
    Exchange(_BACKEND, "rnn", "step_function inputs initial_states go_backwards mask constants unroll input_length "
             "time_major zero_output_for_mask return_all_outputs", recurrent.loop,
             "the loop makes a list of the rows, which fixes their number"),
    Exchange("keras.layers", "LSTM.inner_loop", "self sequences initial_state mask training", recurrent.lstm,
             "steps would be unrolled: 536 operators for 40 of them, and none with a mask"),
    Exchange("keras.layers", "GRU.inner_loop", "self sequences initial_state mask training", recurrent.gru,
             "the same"),
]  # fmt: skip


def left() -> list[str]:
    """What this Keras has otherwise than it is known here, or may have, as it is a version that was not tried."""
    return [f"{one.where}.{one.name}" for one in TABLE if not _is_known(one)]


def _is_known(one: Exchange) -> bool:
    first, end = one.versions
    if not first <= version_of(keras.__version__) < end:
        return False
    try:
        owner, name = _place(one)
        found = inspect.unwrap(getattr(owner, name))
    except (ImportError, AttributeError):
        return False
    return one.arguments is None or list(inspect.signature(found).parameters) == one.arguments.split()


def _place(one: Exchange) -> tuple[Any, str]:
    owner, (*inner, name) = importlib.import_module(one.where), one.name.split(".")
    for part in inner:
        owner = getattr(owner, part)
    return owner, name


@contextlib.contextmanager
def exchanged() -> Iterator[None]:
    """Errors come unfiltered."""
    filtering = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()
    try:
        with _put([one for one in TABLE if _is_known(one)]):
            yield
    finally:
        if filtering:
            keras.config.enable_traceback_filtering()


@contextlib.contextmanager
def _put(table: list[Exchange]) -> Iterator[None]:
    places = [_place(one) for one in table]
    before = [getattr(owner, name) for owner, name in places]
    for one, (owner, name), was in zip(table, places, before):
        setattr(owner, name, one.make(was))
    try:
        yield
    finally:
        for (owner, name), was in reversed(list(zip(places, before))):
            setattr(owner, name, was)
