"""Where tokenizers of pretrained models come from: objects of transformers or tokenizers, folders, files."""

from __future__ import annotations

import base64
import functools
import importlib.util
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stoker.engine import core
from stoker.errors import UserError
from stoker.inputs import beside
from stoker.inputs.huggingface import description_of, parsed

_MARK = "base64:"
_BERT = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
_GPT = ("<|endoftext|>", "<s>", "</s>", "<pad>", "<unk>", "<mask>")  # that models of GPT-2's and RoBERTa's kind have
_OF_SENTENCEPIECE = ("spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
_FILES = "tokenizer.json, vocab.txt, or vocab.json with merges.txt"


@dataclass(frozen=True)
class Found:
    """A description, the number that pads, and whether the tokenizer tells it."""

    description: Mapping[str, Any]
    pad: int
    padded: bool = True

    @property
    def kept(self) -> str:
        return _MARK + base64.b64encode(json.dumps(self.description, separators=(",", ":")).encode()).decode()


def kept(kind: str, tokenizer: Any, lower: bool, begin: bool, end: bool) -> str:
    """As a declaration keeps it. Raises UserError where it cannot be read, is of another kind, or lacks what stands
    around texts."""
    if not isinstance(tokenizer, str) or not tokenizer.startswith(_MARK):
        found = find(tokenizer, lower)
        if found.description["kind"] != kind:
            raise UserError(f"this is a tokenizer='{found.description['kind']}', not '{kind}'")
        tokenizer = found.kept
    count(tokenizer, begin, end)
    return tokenizer


@functools.lru_cache(maxsize=16)
def count(tokenizer: str, begin: bool = False, end: bool = False) -> int:
    """One more than the largest number of one that is kept, and that has what is asked for."""
    return core().count_tokens(base64.b64decode(tokenizer.removeprefix(_MARK)), begin, end)


def find(tokenizer: Any, lower: bool = True) -> Found:
    """Of a fast tokenizer of transformers, one of tokenizers, a folder, a file, or a tokenizer.json's content. `lower`
    is for a vocab.txt that has no tokenizer_config.json beside it."""
    if isinstance(tokenizer, (bytes, bytearray)):
        return _of_json(parsed(bytes(tokenizer), "the tokenizer"), {})
    if isinstance(tokenizer, (str, os.PathLike)):
        return _of_path(Path(tokenizer), lower)
    return _of_object(tokenizer)


def _of_object(tokenizer: Any) -> Found:
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "to_str"):
        raise UserError(f"a {type(tokenizer).__name__} is no fast tokenizer of transformers, and none of tokenizers: "
                        f"give one, or the path of a folder with {_FILES}")  # fmt: skip
    for side in ("padding_side", "truncation_side"):
        if getattr(tokenizer, side, "right") != "right":
            raise UserError(f"the tokenizer's {side} is 'left'; Text cuts and pads on the right")
    for setting in ("encode_special_tokens", "split_special_tokens"):
        if getattr(backend, setting, False) or getattr(tokenizer, setting, False):
            raise UserError(f"the tokenizer reads special tokens as text ({setting}), which Text does not do")
    found = _of_json(json.loads(backend.to_str()), {})
    pad = getattr(tokenizer, "pad_token_id", None)
    return found if pad is None else Found(found.description, pad)


def _of_json(told: Any, names: Mapping[str, str]) -> Found:
    description = description_of(told)
    padding = told.get("padding") or {}
    numbers = {**told["model"]["vocab"], **{one["content"]: one["id"] for one in description["added"]}}
    known = [numbers[name] for name in (names.get("pad_token"), "[PAD]", "<pad>") if name in numbers]
    if padding.get("pad_id") is not None:
        return Found(description, padding["pad_id"])
    return Found(description, known[0], True) if known else Found(description, 0, False)


def _of_path(path: Path, lower: bool) -> Found:
    folder = path if path.is_dir() else path.parent
    config = _config(folder)
    for side in ("padding_side", "truncation_side"):
        if config.get(side, "right") != "right":
            raise UserError(f"{folder / 'tokenizer_config.json'}: {side} is 'left'; Text cuts and pads on the right")
    file = _file_in(path) if path.is_dir() else path
    if path.is_dir() and "tokenizer_class" in config and has_transformers():
        return _of_object(by_transformers(path))
    names = _names(folder, config)
    if file.name.endswith(".txt"):
        tokens = _lines(file)
        beside.check_added(folder, config, tokens, True)
        return _of_json(_bert(tokens, {**_BERT, **names}, config, lower), names)
    told = parsed(_bytes(file), str(file))
    if is_vocabulary(told, folder):
        beside.check_added(folder, config, told, False)
        return _of_json(_gpt(told, _lines(folder / "merges.txt"), names, config), names)
    found = _of_json(told, names)
    beside.check_same(folder, config, names, found.description)
    return found


def is_vocabulary(told: Any, folder: Path) -> bool:
    """Whether JSON is a vocab.json with its merges.txt; "model" is a token of some."""
    return (isinstance(told, Mapping) and not isinstance(told.get("model"), Mapping)
            and (folder / "merges.txt").exists())  # fmt: skip


def has_transformers() -> bool:
    return importlib.util.find_spec("transformers") is not None


def by_transformers(folder: Path) -> Any:
    """transformers' tokenizer of a folder; code that the folder may hold is not run."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # of any kind, by what the folder holds
        raise UserError(f"transformers cannot read the tokenizer of {folder}: {error}") from error


def _file_in(folder: Path) -> Path:
    for name in ("tokenizer.json", "vocab.txt", "vocab.json"):
        if (folder / name).exists():
            return folder / name
    for name in _OF_SENTENCEPIECE:
        if (folder / name).exists():
            raise UserError(f"{folder / name} is a SentencePiece model: Text(..., tokenizer='sentencepiece', "
                            f"pieces={str(folder / name)!r})")  # fmt: skip
    raise UserError(f"{folder} has no {_FILES}")


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the tokenizer: {error}") from None


def _lines(file: Path) -> list[str]:
    try:
        return _bytes(file).decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no UTF-8: {error}") from None


def _config(folder: Path) -> Mapping[str, Any]:
    file = folder / "tokenizer_config.json"
    return parsed(_bytes(file), str(file)) if file.exists() else {}


def _names(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens by what they are for."""
    file = folder / "special_tokens_map.json"
    told = {**(parsed(_bytes(file), str(file)) if file.exists() else {}), **config}
    texts = {name: one.get("content") if isinstance(one, Mapping) else one for name, one in told.items()}
    return {name: text for name, text in texts.items() if name.endswith("_token") and isinstance(text, str)}


def _special(names: Iterable[str], vocabulary: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"content": name, "id": vocabulary[name], "normalized": False, "lstrip": name == "<mask>", "rstrip": False}
            for name in dict.fromkeys(names) if name in vocabulary]  # fmt: skip


def _bert(tokens: list[str], names: Mapping[str, str], config: Mapping[str, Any], lower: bool) -> dict[str, Any]:
    """The tokenizer.json of a vocab.txt, as BertTokenizer makes it."""
    tokens = [token.removesuffix("\r") for token in tokens]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if len(vocabulary) < len(tokens):
        twice = next(token for number, token in enumerate(tokens) if vocabulary[token] != number)
        raise UserError(f"the vocabulary holds {twice!r} twice")
    ends = {side: vocabulary[names[side]] for side in ("cls_token", "sep_token") if names[side] in vocabulary}
    return {
        "model": {"type": "WordPiece", "vocab": vocabulary, "unk_token": names["unk_token"],
                  "continuing_subword_prefix": "##", "max_input_chars_per_word": 100},
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "lowercase": config.get("do_lower_case", lower),
                       "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
                       "strip_accents": config.get("strip_accents")},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": _ends(ends.get("cls_token"), ends.get("sep_token")),
        "added_tokens": _special(names.values(), vocabulary),
    }  # fmt: skip


def _gpt(vocabulary: Mapping[str, int], merges: list[str], names: Mapping[str, str],
         config: Mapping[str, Any]) -> dict[str, Any]:  # fmt: skip
    """The tokenizer.json of vocab.json and merges.txt, as GPT2Tokenizer makes it, or RobertaTokenizer where it has
    tokens for begin and end that differ."""
    if merges and merges[0].startswith("#version"):
        merges = merges[1:]
    ends = vocabulary.get(names.get("cls_token", "<s>")), vocabulary.get(names.get("sep_token", "</s>"))
    return {
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [one.removesuffix("\r") for one in merges if one]},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": config.get("add_prefix_space", False)},
        "post_processor": _ends(*ends),
        "added_tokens": _special([*_GPT, *names.values()], vocabulary),
    }


def _ends(begin: int | None, end: int | None) -> dict[str, Any] | None:
    if begin is None or end is None:
        return None
    return {"type": "BertProcessing", "cls": ["", begin], "sep": ["", end]}
