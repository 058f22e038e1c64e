"""SentencePiece models as declarations keep them: the file as text, so that they travel and are saved as JSON."""

from __future__ import annotations

import base64
import functools
import os
from pathlib import Path
from typing import Any

from stoker.engine import core
from stoker.errors import UserError

_MARK = "base64:"


def kept(model: Any, bos: bool, eos: bool) -> str:
    """Of a file's path or its content. Raises UserError where it cannot be read, is no such model or lacks a piece."""
    if not isinstance(model, str) or not model.startswith(_MARK):
        model = _MARK + base64.b64encode(_content(model)).decode()
    count(model, bos, eos)
    return model


def encoded(model: str) -> str:
    """As the engine takes it, in base64."""
    return model[len(_MARK) :]


def count_of(encoded_model: str) -> int:
    return count(_MARK + encoded_model)


@functools.lru_cache(maxsize=16)
def count(model: str, bos: bool = False, eos: bool = False) -> int:
    """Pieces of a model that is kept, and that has what is asked for."""
    return core().count_pieces(base64.b64decode(encoded(model)), bos, eos)


def _content(model: Any) -> bytes:
    if isinstance(model, (bytes, bytearray)):
        return bytes(model)
    if not isinstance(model, (str, os.PathLike)):
        raise UserError(f"a SentencePiece model is given as its file's path or content, not {model!r}")
    try:
        return Path(model).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the SentencePiece model: {error}") from None
