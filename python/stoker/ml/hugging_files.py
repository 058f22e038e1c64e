"""What a folder of Hugging Face holds, as files by name: a tokenizer, a configuration, weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stoker.errors import UserError
from stoker.inputs import tokenizers

Files = dict[str, bytes]
CONFIG = "config.json"
NAMES = "names.json"  # of the weights
BELOW = "hf/"  # where a saved model keeps what its folder of Hugging Face has beside the weights
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
    if path.is_file():
        files = _of_file(path)
    else:
        files = {name: (path / name).read_bytes() for name in _OF_TOKENIZERS if (path / name).is_file()}
    return {"tokenizer_config.json": _usual_config(), **files} if "tokenizer.json" in files else files


def of_model(model: Any) -> Files:
    """Of a model of transformers: its configuration, and the names of its weights, of tied ones the first."""
    config = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    state = model.state_dict()
    first = {(one.data_ptr(), one.shape, one.numel() or name): name for name, one in reversed(state.items())}
    names = [name for name in state if name in first.values()]
    return {CONFIG: json.dumps(config, indent=2).encode(), NAMES: json.dumps(names).encode()}


def with_labels(files: Files, labels: Sequence[str]) -> Files:
    """With the texts of labels as the names of outputs; a single output has none."""
    if CONFIG not in files or not labels:
        return files
    config = json.loads(files[CONFIG])
    outputs = len(config.get("id2label") or labels)
    if outputs == 1:
        return files
    words = [*labels, *(f"LABEL_{number}" for number in range(len(labels), outputs))]
    config["id2label"] = dict(enumerate(words))
    config["label2id"] = {word: number for number, word in enumerate(words)}
    return {**files, CONFIG: json.dumps(config, indent=2).encode()}


def checked(files: Files) -> Files:
    """Raises UserError where a name is no plain one of a file: they come out of a saved model, which anyone may have
    made, and are written below a folder."""
    for name in files:
        if Path(name).name != name or name in ("", ".", "..") or any(one in name for one in "/\\\0:"):
            raise UserError(f"the saved model has a file named {name!r}, which is no name of a file in a folder of "
                            "Hugging Face: do not use this model")  # fmt: skip
    return files


def write(path: str, files: Mapping[str, bytes], state: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
    """The folder, with the weights of these names. UserError where there is something at `path`."""
    from safetensors.numpy import save_file

    folder = Path(path)
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise UserError(f"'{path}' exists already: give another folder, or remove it")
    if missing := [name for name in names if name not in state]:
        raise UserError(f"the trained program has not all weights of the model: {', '.join(missing[:3])} "
                        f"{'...' if len(missing) > 3 else ''}are missing, so transformers would draw them anew: "
                        "save() keeps what was trained, torch() gives it back")  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in checked(dict(files)).items():
        (folder / name).write_bytes(data)
    tensors = {name: np.ascontiguousarray(state[name]) for name in names}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def tokenizer_of(files: Mapping[str, bytes]) -> Any:
    """transformers' tokenizer of such files."""
    if not tokenizers.has_transformers():
        raise UserError("this model's texts are cut by a tokenizer of transformers, which this Python has not: "
                        "install transformers")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for name, data in checked(dict(files)).items():
            (Path(folder) / name).write_bytes(data)
        return tokenizers.by_transformers(Path(folder))


def _of_file(file: Path) -> Files:
    """Of this file alone, with what belongs to it."""
    data, beside = file.read_bytes(), ["tokenizer_config.json"]
    if file.name.endswith(".txt"):
        name = "vocab.txt"
    elif tokenizers.is_vocabulary(json.loads(data), file.parent):
        name, beside = "vocab.json", [*beside, "merges.txt"]
    else:
        name = "tokenizer.json"
    return {name: data, **{one: (file.parent / one).read_bytes() for one in beside if (file.parent / one).is_file()}}


def _saved(tokenizer: Any) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir()) if file.is_file()}


def _usual_config() -> bytes:
    return json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}).encode()
