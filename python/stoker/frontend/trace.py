"""Runs torch.export over the model, with or without its loss, and turns its failures into CompileError.

torch.export patches torch's classes while it traces, so one trace runs at a time in a process.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
import weakref
from dataclasses import dataclass, field

import torch
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from stoker.errors import CompileError
from stoker.frontend import errors, private, strays
from stoker.frontend.foreign import Foreign
from stoker.frontend.guard import Guard, inferring
from stoker.frontend.private import forget
from stoker.frontend.recurrent import known_shapes

one_at_a_time = threading.Lock()
EXAMPLE_ROWS = 7  # an uncommon number, so that a branch on the batch size shows


@dataclass
class Trace:
    """What one trace leaves behind: the graph, and what forward noted while it ran."""

    program: torch.export.ExportedProgram | None = None
    outputs: list[tuple[str, int]] = field(default_factory=list)  # name, index among the graph's results
    structure: object = None
    denominator: int | None = None  # index among the graph's results
    rows: float = 0.0  # of the denominator where there is no such result
    metric: tuple[int, int, int | None] | None = None  # output, label, weight among the graph's results
    sums: list[tuple[str, int, int]] = field(default_factory=list)  # own metrics: numerator and denominator likewise
    guards: list[tuple[str, str]] = field(default_factory=list)  # condition on the batch, place
    changed: list[str] = field(default_factory=list)  # plain attributes that forward set
    trained: set[str] | None = None  # the stage's names of the parameters that get a gradient; None: not asked
    shapes: ShapeEnv | None = None


def all_tensors(module: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]


class Stage(torch.nn.Module):
    """What is exported: run() takes flat tensors and returns a flat list; subclasses say which."""

    def __init__(self, model: torch.nn.Module, loss=None):
        super().__init__()
        self.model, self.loss = model, loss
        self._own: list[tuple[str, torch.Tensor]] = []  # what is traced in the place of which tensor, by its name here
        self.stands_for(model, loss)

    def stands_for(self, model: torch.nn.Module, loss) -> None:
        """Tensors of these, which look like the stage's own, mean the stage's while it is traced."""
        for root, module in (("model", model), ("loss", loss)):
            if isinstance(module, torch.nn.Module):
                self._own += [(f"{root}.{name}", tensor) for name, tensor in all_tensors(module)]

    def names_of(self, ids: set[int]) -> set[str]:
        return {name for name, tensor in self.named_parameters(remove_duplicate=False) if id(tensor) in ids}

    def guard(self) -> Guard:
        """Around the user's code."""
        traced = dict(all_tensors(self))
        twins = {id(tensor): traced[name] for name, tensor in self._own}
        return Guard(twins, self.parameters(), lambda tensor: strays.name_of(tensor, self.model, self.loss), self.model)

    def run(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        raise NotImplementedError

    def forward(self, *tensors):
        try:
            return self.run(*tensors)
        except Exception as error:
            raise _InForwardError(error) from error

    def watch(self, trace: Trace, tensor: torch.Tensor) -> None:
        """Notes from here on which line asked something about the batch size."""
        size = tensor.shape[0]
        if isinstance(size, torch.SymInt):
            trace.shapes = private.watch_guards(size, lambda guards: _Guards(guards, trace, self.model))


class _Guards(list):
    """torch keeps what it knew of shapes for good, and this list with it: so it holds neither trace nor model."""

    def __init__(self, guards, trace: Trace, model: torch.nn.Module):
        super().__init__(guards)
        self.trace, self.model = weakref.ref(trace), weakref.ref(model)

    def append(self, guard) -> None:
        super().append(guard)
        trace, model = self.trace(), self.model()
        if trace is not None and model is not None:
            frames = errors.frames_of_caller()
            trace.guards.append((str(guard.expr), errors.place_of_frames(frames, model), errors.cure_of_frames(frames)))


def export(stage: Stage, trace: Trace, examples: list[torch.Tensor]) -> None:
    """Fills trace.program. The batch dimension of every tensor is the same, dynamic, at least 2."""
    batch = torch.export.Dim("batch", min=2)
    shapes = (tuple({0: batch} for _ in examples),)
    around = stage.model.tracing() if isinstance(stage.model, Foreign) else contextlib.nullcontext()
    with one_at_a_time, around, _quiet(), _no_custom_functions(), _slow_attention(), _plain_modes(), known_shapes():
        try:
            trace.program = torch.export.export(stage, tuple(examples), dynamic_shapes=shapes, strict=False)
        except Exception as error:
            raise _compile_error(error, stage, trace) from None
        finally:
            if trace.shapes is not None:
                forget(trace.shapes)


class _InForwardError(Exception):
    """What the user's code raised. It cannot be given the graph so far, which torch.export would print to stderr."""

    def __init__(self, cause: Exception):
        super().__init__(str(cause))
        object.__setattr__(self, "cause", cause)

    def __setattr__(self, name: str, value) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)


def _compile_error(error: Exception, stage: Stage, trace: Trace) -> CompileError:
    cause = error.cause if isinstance(error, _InForwardError) else error
    return cause if isinstance(cause, CompileError) else CompileError(explain(cause, stage, trace))


def explain(error: Exception, stage: Stage, trace: Trace) -> str:
    """One sentence for what torch.export says in a page."""
    text, frames = str(error), errors.frames_of_traceback(error.__traceback__)
    place, cure = errors.place_of_frames(frames, stage.model), errors.cure_of_frames(frames)
    at = f" at {place}" if place else ""
    if "data-dependent" in text:
        return f"the model branches on the values of a tensor{at}: only shapes may decide what forward does{cure}"
    if "Constraints violated" in text or "specialized" in text:
        return _explain_batch(trace)
    first = (text.strip() or type(error).__name__).splitlines()[0]
    return f"the model cannot be compiled{at}: {first.rstrip('.') if cure else first}{cure}"


def _explain_batch(trace: Trace) -> str:
    told = [(place, cure) for _, place, cure in trace.guards if place]
    place, cure = told[-1] if told else ("", "")
    at = f" at {place}" if told else ""
    return (
        f"the model depends on the number of rows in the batch{at}: what forward does must be the same for "
        f"every batch size (use tensor.shape[0] only to shape tensors){cure}"
    )


@contextlib.contextmanager
def _quiet():
    """torch.export warns and logs about things that we report ourselves."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.fx.experimental.symbolic_shapes", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _no_custom_functions():
    """Export would follow a custom autograd.Function's forward and lose its backward. Custom operators are refused by
    their own name later."""

    def refuse(cls, *args, **kwargs):
        raise _CustomFunction(f"{cls.__name__} is a custom torch.autograd.Function, which is Python code")

    return private.function_applied(refuse)


class _CustomFunction(Exception):
    pass


@contextlib.contextmanager
def _slow_attention():
    """The fused inference path of nn.TransformerEncoder has other operators, chosen by run-time checks."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextlib.contextmanager
def _plain_modes():
    """Gradients are on, whatever the caller's mode; inference_mode, which export does not see, is no_grad."""
    mode, tracer = torch.inference_mode, threading.get_ident()
    enter, leave = mode.__enter__, mode.__exit__
    before: dict[int, bool] = {}  # by the contexts of this thread

    def stop(self) -> None:
        if threading.get_ident() != tracer:
            enter(self)
        else:
            before[id(self)] = torch.is_grad_enabled()
            inferring.append(self.mode)  # first: the block around it would not let gradients on
            torch.set_grad_enabled(not self.mode)

    def go_on(self, *error) -> None:
        if id(self) not in before:
            leave(self, *error)
        else:
            inferring.pop()
            torch.set_grad_enabled(before.pop(id(self)))

    mode.__enter__, mode.__exit__ = stop, go_on
    try:
        with torch.enable_grad():
            yield
    finally:
        mode.__enter__, mode.__exit__ = enter, leave
        inferring.clear()
