"""What a folder of Hugging Face holds, as files by name: a tokenizer, a configuration, weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stoker.errors import UserError

Files = dict[str, bytes]
CONFIG = "config.json"
_OF_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                  "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model",
                  "tokenizer.model")  # fmt: skip


def of_tokenizer(tokenizer: Any) -> Files:
    """Of a tokenizer of transformers or tokenizers, a folder, a file or a tokenizer.json's content."""
    if hasattr(tokenizer, "save_pretrained"):
        return _saved(tokenizer)
    if hasattr(tokenizer, "to_str"):
        tokenizer = tokenizer.to_str().encode()
    if isinstance(tokenizer, (bytes, bytearray)):
        return {"tokenizer.json": bytes(tokenizer), "tokenizer_config.json": _usual_config()}
    path = Path(tokenizer)
    folder = path if path.is_dir() else path.parent
    files = {name: (folder / name).read_bytes() for name in _OF_TOKENIZERS if (folder / name).is_file()}
    return {"tokenizer_config.json": _usual_config(), **files} if "tokenizer.json" in files else files


def of_config(model: Any, labels: Sequence[str]) -> Files:
    """Of a model of transformers."""
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    if labels:
        config["id2label"] = dict(enumerate(labels))
        config["label2id"] = {label: number for number, label in enumerate(labels)}
    return {CONFIG: json.dumps(config, indent=2).encode()}


def write(path: str, files: Mapping[str, bytes], state: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """The folder, with the weights of these names. UserError where there is something at `path`."""
    from safetensors.numpy import save_file

    folder = Path(path)
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise UserError(f"'{path}' exists already: give another folder, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    tensors = {name: np.ascontiguousarray(state[name]) for name in names if name in state}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def tokenizer_of(files: Mapping[str, bytes]) -> Any:
    """transformers' tokenizer of such files."""
    try:
        from transformers import AutoTokenizer
    except ModuleNotFoundError:
        raise UserError("this model's texts are cut by a tokenizer of transformers, which this Python has not: "
                        "install transformers") from None  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        return AutoTokenizer.from_pretrained(folder)


def _saved(tokenizer: Any) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir()) if file.is_file()}


def _usual_config() -> bytes:
    return json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}).encode()
