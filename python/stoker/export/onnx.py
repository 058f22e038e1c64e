"""An inference program as an ONNX file, by torch's own exporter."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stoker.errors import UserError

_EXAMPLE_ROWS = 7  # an uncommon number: one that became part of the graph would show
_LARGEST = 1 << 30  # bytes of weights in the file itself; protobuf ends at 2 GiB


def write(infer: Mapping[str, Any], weights: Mapping[str, np.ndarray], path: str | os.PathLike[str],
          opset: int | None = None) -> None:  # fmt: skip
    """Writes what a program computes, for any number of rows.

    Args:
        infer: an inference program; its inputs and outputs, by their names, are the graph's.
        weights: its parameters, buffers and constants, as the user's model has them.
        path: of the file; weights of 1 GiB and more go into a second one beside it, `path` + ".data".
        opset: version of ONNX's operators (default: the exporter's own).

    Raises:
        UserError: without the packages onnx and onnxscript, or where an operator has no counterpart in ONNX.
    """
    import torch

    from stoker.frontend.module import ProgramModule
    from stoker.frontend.trace import one_at_a_time

    _check_packages()
    examples = [torch.zeros((_EXAMPLE_ROWS, *entry["shape"]), dtype=getattr(torch, entry["dtype"]))
                for entry in infer["inputs"]]  # fmt: skip
    rows = torch.export.Dim("rows", min=2)
    try:
        with one_at_a_time, _quiet():
            made = torch.onnx.export(
                ProgramModule(dict(infer), weights).eval(), tuple(examples), dynamo=True, opset_version=opset,
                dynamic_shapes=(tuple({0: rows} for _ in examples),), verbose=False,
                optimize=False,  # which would fold batch norms, and weights into others without their names
                input_names=[entry["name"] for entry in infer["inputs"]],
                output_names=[entry["name"] for entry in infer["outputs"]],
            )  # fmt: skip
    except Exception as error:
        raise UserError(f"the model cannot be written as ONNX: {_cause(error)}") from error
    assert made is not None  # as dynamo is on
    size = sum(np.asarray(array).nbytes for array in weights.values())
    made.save(Path(path), external_data=size >= _LARGEST)


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"ONNX files are written by the packages onnx and onnxscript, which are not here ({error}): "
                        "pip install 'stoker[onnx]'") from error  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns and logs of what is its own."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _cause(error: BaseException) -> str:
    """The first one, which names the operator: the exporter's own texts are pages of advice."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
