"""Texts as numbers: bytes and words against Python's own, pieces against SentencePiece's own, and through Spark."""

import functools
import io
import json
import random
import re

import numpy as np
import pyarrow as pa
import pytest
import sentencepiece
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyspark.sql import functions as F
from torch import nn

from stoker import StokerClassificationModel, StokerClassifier
from stoker.engine import core
from stoker.errors import UserError
from stoker.inputs import Present, Text, as_inputs, from_json, learn, sizes, to_json
from test_inputs import both, spec_of

TEXTS = st.none() | st.text(max_size=30) | st.text("aAbZ_09 .'\t\né", max_size=30)
KNOWN = ["a", "b", ".", "'", "ab", "é", "0", "_"]
KINDS = {"string": pa.string(), "large": pa.large_string(), "dictionary": pa.dictionary(pa.int32(), pa.string())}


def words_of(text, lower):
    if lower:
        text = re.sub("[A-Z]", lambda found: found[0].lower(), text)
    return re.findall(r"[0-9A-Za-z_\x80-\U0010ffff]+|[^\s\x80-\U0010ffff]|[\x1c-\x1f]", text)


def numbers_of(item, text):
    if item.tokenizer == "byte":
        return [1 + byte for byte in text.encode("utf-8", "surrogatepass")]
    known = {word: i + 1 for i, word in enumerate(item.vocabulary)}
    return [known.get(word, 0) for word in words_of(text, item.lower)]


@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, max_size=8), st.booleans(), st.booleans(), st.integers(1, 12), st.sampled_from(sorted(KINDS)))
@example(["\x1c a", "", None], False, True, 3, "string")
def test_texts_are_cut_and_padded_and_masked(texts, by_byte, lower, length, kind):
    tokens = {"tokenizer": "byte"} if by_byte else {"vocabulary": KNOWN, "lower": lower}
    item = Text("c", length, pad=3, nulls="fill", **tokens)
    rows, types = [{"c": text} for text in texts], {"c": KINDS[kind]}
    found = [numbers_of(item, text or "")[:length] for text in texts]
    want = [numbers + [3] * (length - len(numbers)) for numbers in found]
    masks = [[1] * len(numbers) + [0] * (length - len(numbers)) for numbers in found]
    np.testing.assert_array_equal(both(item, rows, types), np.reshape(want, (-1, length)))
    np.testing.assert_array_equal(both(Present(item), rows, types), np.reshape(masks, (-1, length)))


SYLLABLES = ["hel", "lo", "wor", "ld", "Spark", "grö", "ße", "na", "ïve", "42", "!"]


@functools.cache
def piece_model(kind="unigram", **settings):
    draw = random.Random(1)
    lines = [" ".join("".join(draw.choices(SYLLABLES, k=2)) for _ in range(8)) for _ in range(500)]
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, model_type=kind, vocab_size=60, minloglevel=2, **settings
    )
    return out.getvalue()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text(max_size=30) | st.lists(st.sampled_from([*SYLLABLES, " "])).map("".join), min_size=1, max_size=8),
    st.sampled_from(["unigram", "bpe", "char"]), st.booleans(), st.booleans(), st.integers(1, 12),
)  # fmt: skip
def test_pieces_are_those_of_sentencepiece(texts, kind, bos, eos, length):
    own = sentencepiece.SentencePieceProcessor(model_proto=piece_model(kind))
    item = Text("c", length, "sentencepiece", pieces=piece_model(kind), bos=bos, eos=eos, pad=5)
    assert item.size == own.get_piece_size()
    texts = [text for text in texts if "\0" not in text and text.isprintable()]
    inside = max(length - bos - eos, 0)
    found = [[1] * bos + own.encode(text)[:inside] + [2] * eos for text in texts]
    want = [(numbers + [5] * length)[:length] for numbers in found]
    rows = [{"c": text} for text in texts]
    np.testing.assert_array_equal(both(item, rows, {"c": pa.string()}), np.reshape(want, (-1, length)))
    masks = [([1] * len(numbers) + [0] * length)[:length] for numbers in found]
    np.testing.assert_array_equal(both(Present(item), rows, {"c": pa.string()}), np.reshape(masks, (-1, length)))


def test_a_model_of_pieces_that_is_none_is_told_at_once(tmp_path):
    def text(**more):
        return Text("c", 3, "sentencepiece", **more)

    (tmp_path / "it.model").write_bytes(piece_model())
    assert text(pieces=tmp_path / "it.model") == text(pieces=str(tmp_path / "it.model")) == text(pieces=piece_model())
    for pieces, words in [
        (tmp_path / "none.model", r"Text\('c'\): cannot read the SentencePiece model: .*No such file"),
        (b"no model", r"Text\('c'\): this is no SentencePiece model: "),
        (b"", r"Text\('c'\): this is no SentencePiece model: "),
        (7, r"Text\('c'\): a SentencePiece model is given as its file's path or content, not 7"),
    ]:
        with pytest.raises(UserError, match=words):
            text(pieces=pieces)
    with pytest.raises(UserError, match="the SentencePiece model has no piece for the end of a sentence"):
        text(pieces=piece_model("unigram", eos_id=-1), eos=True)


def test_a_null_is_an_error_that_tells_its_cure():
    with pytest.raises(core().UserError, match="column 'c', partition 0, row 1: is null; nulls='fill' allows that"):
        both(Text("c", 3, "byte"), [{"c": "a"}, {"c": None}], {"c": pa.string()})


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Text("c", 0), "length must be at least 1, not 0"),
        (lambda: Text("c", 3, pad=-1), "pad is a number of 0 or more, not -1"),
        (lambda: Text("c", 3, "char"), "tokenizer is 'word', .*, 'wordpiece' or 'bpe', not 'char'"),
        (lambda: Text("c", 3, "sentencepiece"), "tokenizer='sentencepiece' needs pieces=, a SentencePiece model"),
        (lambda: Text("c", 3, pieces=piece_model()), "tokenizer='word' takes no pieces=, a pretrained tokenizer"),
        (lambda: Text("c", 3, "byte", eos=True), "bos and eos are for tokenizer='sentencepiece'"),
        (lambda: Text("c", 3, "byte", ["a"]), "a vocabulary holds words, and is for tokenizer='word' alone"),
        (lambda: Text("c", 3, vocabulary=["a", "a"]), "holds a word twice"),
        (lambda: Text("c", 3, nulls="mask"), "nulls is 'error' or 'fill', which makes an empty text"),
        (lambda: Text("c", 3).size, r"Text\('c'\) has no vocabulary yet: stoker.inputs.learn"),
    ],
)
def test_declarations_that_make_no_sense(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_declarations_survive_json_and_tell_their_sizes():
    told = as_inputs({"x": Text("c", 5, vocabulary=["a", "b"], lower=False), "y": Present(Text("c", 5, "byte")),
                      "z": Text("c", 5, "sentencepiece", pieces=piece_model(), bos=True)})  # fmt: skip
    assert from_json(json.loads(json.dumps(to_json(told)))) == told
    assert told["x"].size == 3 and Text("c", 5, "byte").size == 257 and sizes(Text("c", 2, "byte")) == [257, 257]
    assert spec_of("x", Text("c", 9, "byte"))["dtype"] == "int64"


# --- through Spark ----------------------------------------------------------------------------------------------------

ODD = ["It's  GOOD, isn't it?", "good\tGood\u00a0x", "", None, "Ärger ärger", "\x1c\x0b.", "naïve_2 naïve_2", "İ K"]


@pytest.mark.parametrize("lower", [True, False])
def test_spark_learns_the_words_that_the_engine_reads(spark, lower):
    frame = spark.createDataFrame([(text,) for text in ODD], "c string")
    learnt = learn(frame, {"x": Text("c", 20, lower=lower, nulls="fill")})["x"]
    assert set(learnt.vocabulary) == {word for text in ODD if text for word in words_of(text, lower)}
    ids = both(learnt, [{"c": text} for text in ODD], {"c": pa.string()})
    counts = [len(words_of(text or "", lower)) for text in ODD]
    assert [(row > 0).sum() for row in ids] == counts  # every word is known
    assert len(learn(frame, {"x": Text("c", 9, maxSize=2)})["x"].vocabulary) == 2


class Reader(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.table = nn.Embedding(size, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, text, mask):
        return self.last((self.table(text) * mask.unsqueeze(-1)).sum(1))


@pytest.mark.parametrize("tokens", [{}, {"tokenizer": "sentencepiece", "eos": True}], ids=["words", "pieces"])
def test_a_network_learns_from_raw_texts_and_is_saved_and_loaded(tokens, spark, tmp_path):
    if tokens:
        tokens = {**tokens, "pieces": piece_model("char")}
    praise, filler = F.array(*map(F.lit, ["Great!", "bad...", "GREAT", "Bad"])), F.concat(F.lit("w"), F.col("id") % 17)
    df = spark.range(0, 400, 1, 3).select(
        "id", F.concat_ws(" ", filler, praise[(F.col("id") % 4).cast("int")], filler, filler).alias("review"),
        (F.col("id") % 2).cast("int").alias("label"))  # fmt: skip
    text = learn(df, {"text": Text("review", 16 if tokens else 6, **tokens)})["text"]
    torch.manual_seed(0)
    told = StokerClassifier(
        model=Reader(text.size), inputs={"text": text, "mask": Present(text)}, labelCol="label", batchSize=40, epochs=8,
        learningRate=0.05, numWorkers=2, seed=1, verbose=0,
    )  # fmt: skip
    model = told.fit(df)
    wanted = model.transform(df).select("id", "label", "prediction", "probability").orderBy("id").collect()
    assert all(row.label == row.prediction for row in wanted)
    model.write().save(str(tmp_path / "model"))
    loaded = StokerClassificationModel.load(str(tmp_path / "model"))
    assert loaded.getInputs() == model.getInputs()
    again = loaded.transform(df).select("id", "label", "prediction", "probability").orderBy("id").collect()
    assert again == wanted


def test_other_columns_are_refused(spark):
    frame = spark.createDataFrame([], "c int")
    with pytest.raises(UserError, match=r"Text\('c'\): the column has type int; expected a string"):
        learn(frame, {"x": Text("c", 3)})
