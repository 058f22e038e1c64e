"""What stands beside a tokenizer's file in its folder and would change its numbers: refused by name."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from stoker.errors import UserError
from stoker.inputs.huggingface import parsed

Json = Mapping[str, Any]
_CONFIG = "tokenizer_config.json"
_WITH_ENDS = ("Bert", "DistilBert", "Electra", "MPNet", "Roberta", "Bart")  # that put tokens around a text


def check_same(folder: Path, config: Json, names: Mapping[str, str], description: Json) -> None:
    """Raises UserError where tokenizer_config.json says something else than tokenizer.json, which transformers would
    then change."""
    for setting, wanted, has in _settings(config, description):
        if wanted != has:
            raise _differs(folder / _CONFIG, f"{setting} is {wanted}, and the tokenizer.json beside it has {has}")
    kind = str(config.get("tokenizer_class", "")).removesuffix("Fast").removesuffix("Tokenizer")
    if kind in _WITH_ENDS and not description["before"] and not description["after"]:
        raise _differs(folder / _CONFIG, f"{kind}Tokenizer puts tokens around a text, and tokenizer.json has none")
    known = {one["content"] for one in description["added"]}
    special = [*names.items(), *(("added_tokens_decoder", one) for one in _added(folder, config))]
    for name, token in special:
        if token not in known:
            raise _differs(folder, f"{name} {token!r} is none of the added tokens of tokenizer.json")


def check_added(folder: Path, config: Json, vocabulary: Container[str], normalizes: bool) -> None:
    """Raises UserError where a folder with a vocabulary alone has tokens that it lacks, or says how to find them."""
    for token in _added(folder, config):
        if token not in vocabulary:
            raise _differs(folder, f"the added token {token!r} is not in the vocabulary")
    for token, how in _ways(folder, config):
        usual = {"lstrip": token == "<mask>"}
        for setting in ("lstrip", "rstrip", "single_word", *(["normalized"] if normalizes else [])):
            if how.get(setting, False) != usual.get(setting, False) and setting in how:
                raise _differs(folder, f"the token {token!r} has {setting}={how[setting]}")


def _settings(config: Json, description: Json) -> Iterator[tuple[str, Any, Any]]:
    lower = config.get("do_lower_case", description.get("lower"))
    accents = config.get("strip_accents")
    wanted = {"do_lower_case": lower, "strip_accents": lower if accents is None else accents,
              "tokenize_chinese_chars": config.get("tokenize_chinese_chars"),
              "add_prefix_space": config.get("add_prefix_space")}  # fmt: skip
    has = dict(zip(wanted, (description.get(name) for name in ("lower", "accents", "chinese", "blank_first"))))
    for name, value in wanted.items():
        if name in config and has[name] is not None:
            yield name, value, has[name]
    yield "split_special_tokens", config.get("split_special_tokens", False), False


def _added(folder: Path, config: Json) -> list[str]:
    """Tokens by any of the ways to add some."""
    told = {**_of_file(folder / "special_tokens_map.json"), **config}
    more = [told.get(name) or [] for name in ("additional_special_tokens", "extra_special_tokens")]
    listed = [one for some in more for one in (some.values() if isinstance(some, Mapping) else some)]
    decoded = (config.get("added_tokens_decoder") or {}).values()
    return [*_of_file(folder / "added_tokens.json"), *map(_text, listed), *map(_text, decoded)]


def _ways(folder: Path, config: Json) -> Iterator[tuple[str, Json]]:
    told = {**_of_file(folder / "special_tokens_map.json"), **config}
    named = [one for name, one in told.items() if name.endswith("_token")]
    for one in [*named, *(config.get("added_tokens_decoder") or {}).values()]:
        if isinstance(one, Mapping):
            yield _text(one), one


def _text(one: Any) -> str:
    return str(one.get("content") if isinstance(one, Mapping) else one)


def _of_file(file: Path) -> Json:
    return parsed(file.read_bytes(), str(file)) if file.exists() else {}


def _differs(where: Path, what: str) -> UserError:
    return UserError(f"{where}: {what}; what transformers makes of this folder is exact: give "
                     "AutoTokenizer.from_pretrained(folder)")  # fmt: skip
