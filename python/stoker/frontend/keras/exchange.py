"""What is exchanged in Keras while its model is traced. Entered under the lock of the trace."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import keras
import torch

_DRAWING = ("rand", "randn", "normal", "randint", "bernoulli", "multinomial")


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


def _symbolic(cast, dtype_of):
    def call(x, dtype):
        if isinstance(x, torch.SymInt):
            return torch.scalar_tensor(x, dtype=dtype_of(dtype))
        return cast(x, dtype)

    return call


@contextlib.contextmanager
def exchanged() -> Iterator[None]:
    """Random layers draw without Keras' seeds: on the workers each row has its own key. The batch size stays a symbol
    where it is cast to a number, as for activity regularisers. Errors come unfiltered."""
    backend = sys.modules["keras.src.backend"]
    random, core = sys.modules["keras.src.backend.torch.random"], sys.modules["keras.src.backend.torch.core"]
    cast = _symbolic(core.cast, core.to_torch_dtype)
    table = [(random, "torch_seed_generator", lambda seed: None), (random, "torch", _WithoutGenerator()),
             (backend, "cast", cast), (core, "cast", cast)]  # fmt: skip
    filtering = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()
    try:
        with _put(table):
            yield
    finally:
        if filtering:
            keras.config.enable_traceback_filtering()


@contextlib.contextmanager
def _put(table: list[tuple[Any, str, Any]]) -> Iterator[None]:
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in table]
    for owner, name, value in table:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)
