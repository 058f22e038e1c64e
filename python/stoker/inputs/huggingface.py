"""tokenizer.json of the `tokenizers` package, WordPiece (BERT) and byte-level BPE (GPT-2), as the engine describes a
tokenizer (engine/text/tokenizer.h). What the engine would not do exactly is refused by name."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from stoker.errors import UserError

Json = Mapping[str, Any]
KINDS = {"WordPiece": "wordpiece", "BPE": "bpe"}
_MOST_NUMBERS = 1 << 30


def description_of(told: Any) -> dict[str, Any]:
    """Of a tokenizer.json's content. Raises UserError where it is none, or one that the engine does not know."""
    if not isinstance(told, Mapping) or not isinstance(told.get("model"), Mapping):
        raise UserError("this is no tokenizer.json: it has no model")
    kind = KINDS.get(_type_of(told["model"]))
    if kind is None:
        raise _unknown_model(_type_of(told["model"]))
    _check_sides(told)
    try:
        made = _word_pieces(told) if kind == "wordpiece" else _byte_pairs(told)
        return {"kind": kind, **made, **_around(told.get("post_processor")), "added": _added(told)}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"this tokenizer.json cannot be read: {type(error).__name__}: {error}") from error


def _type_of(part: Any) -> str:
    return "none" if part is None else str(part.get("type", "BPE" if "merges" in part else "of no type"))


def _unknown_model(kind: str) -> UserError:
    hint = "; for one of SentencePiece give its file: Text(..., tokenizer='sentencepiece', pieces='spiece.model')"
    return UserError(f"the tokenizer's model is {kind}; there are WordPiece and BPE{hint if kind == 'Unigram' else ''}")


def _check_sides(told: Json) -> None:
    for part in ("truncation", "padding"):
        if (told.get(part) or {}).get("direction", "Right") != "Right":
            raise UserError(f"the tokenizer's {part} is on the left; Text cuts and pads on the right")


def _only(told: Json, part: str, wanted: str) -> Json:
    """The normalizer or pre-tokenizer, which must be one."""
    found = told.get(part)
    if found and found.get("type") == "Sequence":
        inner = found.get("normalizers") or found.get("pretokenizers") or []
        found = inner[0] if len(inner) == 1 else found
    if _type_of(found) != wanted:
        what = part.replace("_", "-")
        raise UserError(f"the tokenizer's {what} is {_described(found)}; {_type_of(told['model'])} goes with "
                        f"{'no ' + what if wanted == 'none' else wanted}")  # fmt: skip
    return found or {}


def _described(part: Any) -> str:
    inner = (part or {}).get("normalizers") or (part or {}).get("pretokenizers")
    return f"a Sequence of {', '.join(map(_type_of, inner))}" if inner else _type_of(part)


def _word_pieces(told: Json) -> dict[str, Any]:
    model, rules = told["model"], _only(told, "normalizer", "BertNormalizer")
    _only(told, "pre_tokenizer", "BertPreTokenizer")
    lower, accents = rules["lowercase"], rules.get("strip_accents")
    tokens = by_number(model["vocab"])
    unknown = model.get("unk_token", "[UNK]")
    if unknown not in model["vocab"]:
        raise UserError(f"the vocabulary lacks the token for unknown words, {unknown!r}")
    return {"tokens": tokens, "unknown": model["vocab"][unknown], "prefix": model["continuing_subword_prefix"],
            "longest": model["max_input_chars_per_word"], "clean": rules["clean_text"],
            "chinese": rules["handle_chinese_chars"], "accents": lower if accents is None else accents,
            "lower": lower}  # fmt: skip


def _byte_pairs(told: Json) -> dict[str, Any]:
    model = told["model"]
    for setting in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(setting):
            raise UserError(f"the tokenizer's BPE has {setting}={model[setting]!r}, which Text does not do")
    _only(told, "normalizer", "none")
    cut = _only(told, "pre_tokenizer", "ByteLevel")
    if not cut.get("use_regex", True):
        raise UserError("the tokenizer's ByteLevel does not cut into words by itself (use_regex is off), which Text "
                        "does not do")  # fmt: skip
    tokens = by_number(model["vocab"])
    merges = [number for rank, one in enumerate(model["merges"]) for number in _merge(model["vocab"], one, rank)]
    return {"tokens": [None if token is None else _bytes_of(token) for token in tokens], "merges": merges,
            "whole": bool(model.get("ignore_merges")), "blank_first": cut["add_prefix_space"]}  # fmt: skip


def _merge(vocabulary: Mapping[str, int], one: str | Sequence[str], rank: int) -> list[int]:
    pair = one.split(" ") if isinstance(one, str) else one
    if len(pair) != 2:
        raise UserError(f"merge {rank + 1} is {one!r}, not two tokens")
    wanted = (*pair, "".join(pair))
    if missing := [token for token in wanted if token not in vocabulary]:
        raise UserError(f"merge {rank + 1}, {' '.join(pair)!r}: the vocabulary lacks {missing[0]!r}")
    return [vocabulary[token] for token in wanted]


def by_number(vocabulary: Mapping[str, int]) -> list[str | None]:
    """Tokens in the order of their numbers, None where a number has none."""
    wrong = [f"{token!r}: {number!r}" for token, number in vocabulary.items()
             if type(number) is not int or not 0 <= number < _MOST_NUMBERS]  # fmt: skip
    if wrong or not vocabulary:
        raise UserError(f"a vocabulary gives whole numbers from 0 on to tokens; this one has {', '.join(wrong[:3])}"
                        if wrong else "the vocabulary is empty")  # fmt: skip
    top = max(vocabulary.values())
    if top > 10 * len(vocabulary) + 10_000:
        raise UserError(f"the vocabulary's {len(vocabulary):,} tokens have numbers up to {top:,}")
    tokens: list[str | None] = [None] * (top + 1)
    for token, number in vocabulary.items():
        if tokens[number] is not None:
            raise UserError(f"the vocabulary gives {number} to both {tokens[number]!r} and {token!r}")
        tokens[number] = token
    return tokens


def _alphabet() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, others for those behind U+0100, in order."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in kept]
    return {**{chr(byte): byte for byte in kept}, **{chr(256 + i): byte for i, byte in enumerate(others)}}


_ALPHABET = _alphabet()


def _bytes_of(token: str) -> str | None:
    """In base64; None for one that no bytes can become."""
    if not all(letter in _ALPHABET for letter in token):
        return None
    return base64.b64encode(bytes(_ALPHABET[letter] for letter in token)).decode()


def _added(told: Json) -> list[dict[str, Any]]:
    added = told.get("added_tokens") or []
    for one in added:
        if one.get("single_word"):
            raise UserError(f"the added token {one['content']!r} has single_word=True, which Text does not do")
    return [{name: one[name] for name in ("content", "id", "normalized", "lstrip", "rstrip")} for one in added]


def _around(post: Any) -> dict[str, list[int]]:
    """The numbers before and after a text."""
    kind = _type_of(post)
    if kind == "Sequence":
        found = [_around(one) for one in post["processors"]]
        return {side: [number for one in found for number in one[side]] for side in ("before", "after")}
    if kind in ("none", "ByteLevel"):
        return {"before": [], "after": []}
    if kind in ("BertProcessing", "RobertaProcessing"):
        return {"before": [post["cls"][1]], "after": [post["sep"][1]]}
    if kind == "TemplateProcessing":
        return _around_template(post)
    raise UserError(f"the tokenizer's post-processor is {kind}; there are TemplateProcessing, BertProcessing, "
                    "RobertaProcessing and ByteLevel")  # fmt: skip


def _around_template(post: Json) -> dict[str, list[int]]:
    sides: list[list[int]] = [[]]
    for one in post["single"]:
        ((kind, what),) = one.items()
        if what["type_id"] != 0:
            raise UserError("the tokenizer's template has type ids other than 0 for single texts, which Text has not")
        if kind == "Sequence":
            sides.append([])
        else:
            sides[-1] += post["special_tokens"][what["id"]]["ids"]
    if len(sides) != 2:
        raise UserError("the tokenizer's template for single texts does not have the text once")
    return {"before": sides[0], "after": sides[1]}


def parsed(content: bytes, what: str) -> Any:
    try:
        return json.loads(content)
    except (UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{what} is no JSON: {error}") from None
