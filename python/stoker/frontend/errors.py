"""What cannot be compiled, said in the user's words: the module, its class, the user's line, the cause."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path
from types import FrameType, TracebackType

_OURS = str(Path(__file__).parent)
Frame = tuple[FrameType, int]
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')


def is_user_file(filename: str) -> bool:
    """Whether a source file is the user's: not torch's, not the front end's, not generated."""
    import torch

    inside = (str(Path(torch.__file__).parent), _OURS, str(Path(traceback.__file__).parent))
    if filename.startswith("<") and not filename.startswith("<ipython"):
        return False
    if "/keras/src/" in filename or backend_of(filename):
        return False
    if filename.startswith("torch/"):  # stack traces of graph nodes shorten torch's own names
        return False
    library = filename.startswith(inside[2]) and "site-packages" not in filename
    return not (filename.startswith(inside[:2]) or library)


def backend_of(filename: str) -> str:
    """'tensorflow' or 'jax' for one of their files."""
    return next((name for name in ("tensorflow", "jax") if f"/site-packages/{name}/" in filename), "")


def line_in_stack(stack_trace: str | None) -> tuple[str, int] | None:
    """The user's innermost line in the stack trace text of a graph node."""
    lines = [(name, int(number)) for name, number in _FRAME.findall(stack_trace or "") if is_user_file(name)]
    return lines[-1] if lines else None


def place_of(path: str, class_name: str, line: tuple[str, int] | None) -> str:
    """'layer1.conv (Conv2d), net.py:12'; empty where nothing is known."""
    module = f"{path} ({class_name})" if path else class_name
    where = f"{line[0]}:{line[1]}" if line else ""
    return ", ".join(part for part in (module, where) if part)


def place_of_node(node) -> str:
    """Where a node of the exported graph comes from."""
    path, class_name = module_of_node(node)
    return place_of(path, class_name, line_in_stack(node.meta.get("stack_trace")))


def module_of_node(node) -> tuple[str, str]:
    stack = [
        entry
        for entry in (node.meta.get("nn_module_stack") or {}).values()
        if entry[0].partition(".")[0] in ("model", "loss")
    ]
    if not stack:
        return "", ""
    path, kind = stack[-1]
    kind = kind if isinstance(kind, str) else kind.__qualname__
    root, _, inner = path.partition(".")
    return (inner if root == "model" else "the loss"), kind.rpartition(".")[2]


def place_of_frames(frames: list[Frame], model) -> str:
    """Where in the user's model these frames (outermost first) are: the innermost module, the user's innermost line."""
    parts = _parts(model)
    found, line = None, None
    for frame, number in _below_stage(frames):
        owner = frame.f_locals.get("self")
        if id(owner) in parts and frame.f_code.co_name in ("forward", "call"):
            found = parts[id(owner)]
        if is_user_file(frame.f_code.co_filename):
            line = (frame.f_code.co_filename, number)
    return place_of(*(found or ("", "")), line)


def _parts(model) -> dict[int, tuple[str, str]]:
    """The id of each module, or Keras layer, of a model -> its path and class."""
    from stoker.frontend.foreign import Foreign

    if isinstance(model, Foreign):
        return model.parts()
    return {id(module): (name, type(module).__name__) for name, module in model.named_modules()}


def _below_stage(frames: list[Frame]) -> list[Frame]:
    """What the exported stage's forward called; the frames above it are not about the model."""
    ours = [i for i, (frame, _) in enumerate(frames) if frame.f_code.co_name == "forward" and _is_ours(frame)]
    return frames[ours[0] + 1 :] if ours else []


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OURS)


_PACKED = "Packed sequences read lengths as values: run the layer on padded rows, and mask what it gives"
_CURES_BY_CALL = {
    "cdist": "torch.cdist looks at the number of rows: give it compute_mode='donot_use_mm_for_euclid_dist'",
    "pack_padded_sequence": _PACKED,
    "pad_packed_sequence": _PACKED,
    "nested_tensor": "Nested tensors are not compiled: pad the rows, and give a mask",
    "_add_batch_dim": "torch.vmap is not compiled: write the operation for the whole batch",
}


def cure_of_frames(frames: list[Frame]) -> str:
    """The end of a sentence: what to do about a function of torch that is running, where that is known."""
    names = [frame.f_code.co_name for frame, _ in frames if not is_user_file(frame.f_code.co_filename)]
    return next(filter(None, map(cure_of_call, names)), "") or _cure_of_others(frames)


def _cure_of_others(frames: list[Frame]) -> str:
    """Where a Keras model of another backend calls that itself."""
    called = next(filter(None, (backend_of(frame.f_code.co_filename) for frame, _ in frames)), "")
    return f". It calls {called}, and Keras models are compiled on torch: write it with keras.ops" if called else ""


def cure_of_call(name: str) -> str:
    return f". {_CURES_BY_CALL[name]}" if name in _CURES_BY_CALL else ""


def frames_of_traceback(trace: TracebackType | None) -> list[Frame]:
    return list(traceback.walk_tb(trace))


def frames_of_caller() -> list[Frame]:
    """The running frames, outermost first."""
    return list(traceback.walk_stack(sys._getframe(1)))[::-1]
