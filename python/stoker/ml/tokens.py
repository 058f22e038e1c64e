"""From a column of texts to a model's inputs: by the engine where it has the tokenizer, else by a step in pandas."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from stoker.errors import UserError
from stoker.inputs import tokenizers
from stoker.inputs.text import Text, of_found
from stoker.inputs.wrappers import Present
from stoker.ml import hugging_files

IDS, MASK = "stoker_ids", "stoker_mask"  # columns of the step in pandas
_HUGGING = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class Step:
    """Numbers by a tokenizer that is called: `tokenizer(texts, ...)` in the way of transformers."""

    tokenizer: Any
    column: str
    length: int

    def added_to(self, df: DataFrame) -> DataFrame:
        """With the columns of numbers and masks; a null is an empty text."""
        cut: Any = F.pandas_udf(self._of_pandas, "ids array<int>, mask array<int>")  # type: ignore[call-overload]
        tokens = cut(F.col(self.column))
        told = df.withColumn("stoker_tokens", tokens)
        told = told.withColumns({IDS: F.col("stoker_tokens.ids"), MASK: F.col("stoker_tokens.mask")})
        return told.drop("stoker_tokens")

    def dropped_from(self, df: DataFrame) -> DataFrame:
        return df.drop(IDS, MASK)

    def cut(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
        """The numbers of each text and their mask."""
        found = self.tokenizer(list(texts), truncation=True, padding="max_length", max_length=self.length,
                               return_attention_mask=True)  # fmt: skip
        return list(found["input_ids"]), list(found["attention_mask"])

    @property
    def _of_pandas(self) -> Any:
        """As pandas_udf takes it, which tells by annotations what it is."""
        import pandas as pd

        cut = self.cut

        def cut_all(batches):
            for texts in batches:
                yield pd.DataFrame(dict(zip(("ids", "mask"), cut(texts.fillna("")))))

        cut_all.__annotations__ = {"batches": Iterator[pd.Series], "return": Iterator[pd.DataFrame]}
        return cut_all


def is_cut_before(inputs: Any) -> bool:
    """Whether inputs that were declared read what a Step adds."""
    return IDS in (inputs or {}).values()


def length_of(inputs: Mapping[str, Any], shapes: Any) -> int | None:
    """The tokens of a text, as inputs were declared; None where they are none of a tokenizer."""
    found = [one.length for one in inputs.values() if isinstance(one, Text)]
    cut = [name for name, column in inputs.items() if column == IDS]
    return found[0] if found else shapes[cut[0]][0] if cut and isinstance(shapes, Mapping) else None


def of_column(inputs: Mapping[str, Any], column: str) -> dict[str, Any]:
    """The same of another column."""
    texts = [replace(one, column=column) for one in inputs.values() if isinstance(one, Text)]
    if not texts:
        return dict(inputs)
    return {name: texts[0] if isinstance(one, Text) else Present(texts[0]) for name, one in inputs.items()}


def is_of(inputs: Mapping[str, Any], tokenizer: Any, files: Mapping[str, bytes]) -> bool:
    """Whether inputs are by this tokenizer; `files` are those of the one that they are by."""
    texts = [one for one in inputs.values() if isinstance(one, Text)]
    try:
        if texts:
            return tokenizers.find(tokenizer).kept == texts[0].pieces
        return hugging_files.of_tokenizer(tokenizer).items() <= files.items()
    except (UserError, OSError):
        return False


def tensors_of(module: Any) -> tuple[str, str | None]:
    """The names that forward has for token numbers and for their mask: transformers' own, else the first two; None: it
    takes no mask."""
    names = [name for name, one in inspect.signature(module.forward).parameters.items()
             if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]  # fmt: skip
    if _HUGGING[0] in names:
        return _HUGGING[0], _HUGGING[1] if _HUGGING[1] in names else None
    if not names:
        raise UserError(f"forward of {type(module).__name__} takes no input for token numbers")
    return names[0], names[1] if len(names) > 1 else None


def declared(tokenizer: Any, module: Any, column: str, length: int) -> tuple[dict[str, Any], Step | None]:
    """Parameters of an estimator that say what the model's inputs are, and the step in pandas before them where the
    engine has not the tokenizer."""
    names = [name for name in tensors_of(module) if name is not None]
    try:
        found = tokenizers.find(tokenizer)
        text = of_found(_padded(found, module), column, length, "fill")
    except UserError:
        if not callable(tokenizer):
            raise
        _check(module, len(tokenizer), length)
        _check_padding(module, getattr(tokenizer, "pad_token_id", None))
        told = {"inputs": dict(zip(names, (IDS, MASK))), "inputTypes": {names[0]: "int64"},
                "inputShape": {name: [length] for name in names}}  # fmt: skip
        return told, Step(tokenizer, column, length)
    _check(module, text.size, length)
    _check_padding(module, found.pad if found.padded else None)
    return {"inputs": dict(zip(names, (text, Present(text))))}, None


def _padded(found: tokenizers.Found, module: Any) -> tokenizers.Found:
    """With the model's padding, where the tokenizer tells none."""
    own = getattr(getattr(module, "config", None), "pad_token_id", None)
    return found if found.padded or own is None else replace(found, pad=own)


def _check(module: Any, size: int, length: int) -> None:
    config = getattr(module, "config", None)
    rows = getattr(config, "vocab_size", None)
    if rows is not None and size > rows:
        raise UserError(f"the tokenizer has numbers up to {size - 1}, and the model's vocabulary ends at {rows - 1}: "
                        "they do not belong together, or the model needs resize_token_embeddings")  # fmt: skip
    places = getattr(config, "max_position_embeddings", None)
    if places is not None and length > (most := places - _places_before(module)):
        raise UserError(f"maxLength is {length}, and the model has places for {most} tokens")


def _places_before(module: Any) -> int:
    """Of models that count places from behind that of padding, as RoBERTa does."""
    tables = [one for name, one in module.named_modules() if name.endswith("position_embeddings")]
    before = [one.padding_idx + 1 for one in tables if getattr(one, "padding_idx", None) is not None]
    return max(before, default=0)


def _check_padding(module: Any, pad: int | None) -> None:
    own = getattr(getattr(module, "config", None), "pad_token_id", None)
    if pad is not None and own is not None and pad != own:
        raise UserError(f"the tokenizer pads with {pad}, and the model's config.pad_token_id is {own}: they do not "
                        "belong together, or the model needs the tokenizer's number there when it is made")  # fmt: skip
