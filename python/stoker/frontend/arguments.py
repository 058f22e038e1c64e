"""Which argument of a model's forward each input goes to."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import takewhile

import torch

from stoker.errors import CompileError, did_you_mean
from stoker.frontend.foreign import Foreign, is_hugging

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Arguments:
    """An input's name is that of its argument. Only one that comes alone may have another name: it goes first."""

    def __init__(self, model: torch.nn.Module):
        self._model = type(model).__name__
        parameters = _parameters(model)
        named = [p for p in parameters if p.kind in (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)]
        self.names = [p.name for p in named]
        self._needed = [p.name for p in named if p.default is p.empty]
        self._in_order = [p.name for p in named if p.kind in _POSITIONAL]
        takes_more = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._any_name = takes_more and not is_hugging(model)  # which passes on what it does not know
        self._any_number = any(p.kind is p.VAR_POSITIONAL for p in parameters)

    def fed(self, inputs: Sequence[str]) -> tuple[list[str], list[str]]:
        """The inputs that forward gets by position, and those that it gets by name."""
        if self._is_first(inputs):
            self._check_needed(inputs, self._in_order[:1])
            return list(inputs), []
        self.check_known(inputs)
        self._check_needed(inputs, inputs)
        leading = list(takewhile(lambda name: name in inputs, self._in_order))
        return leading, [name for name in inputs if name not in leading]

    def _is_first(self, inputs: Sequence[str]) -> bool:
        return len(inputs) == 1 and inputs[0] not in self.names and bool(self._in_order or self._any_number)

    def check_known(self, inputs: Sequence[str]) -> None:
        for name in inputs:
            if name not in self.names and not self._any_name:
                raise CompileError(
                    f"inputs['{name}']: forward of {self._model} has no argument '{name}'"
                    f"{did_you_mean(name, self.names) or '.'} {self._told()}"
                )

    def _check_needed(self, inputs: Sequence[str], fed: Sequence[str]) -> None:
        missing = [name for name in self._needed if name not in fed]
        if missing:
            raise CompileError(
                f"forward of {self._model} needs the argument '{missing[0]}', and no input feeds it: inputs has "
                f"{', '.join(inputs)}. {self._told()}"
            )

    def _told(self) -> str:
        if not self.names:
            return "It takes no argument by name: give its arguments names, each that of an input"
        return f"Its arguments: {', '.join(self.names)}"


def _parameters(model: torch.nn.Module) -> list[inspect.Parameter]:
    if isinstance(model, Foreign):
        return model.arguments()
    try:
        return list(inspect.signature(model.forward).parameters.values())
    except (TypeError, ValueError):  # not written in Python: it says no itself
        return [inspect.Parameter("inputs", inspect.Parameter.VAR_POSITIONAL)]
