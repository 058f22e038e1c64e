"""WordPiece and byte-level BPE against the `tokenizers` package: the same numbers for real texts, for drawn characters
of all Unicode and for hostile rows; and what is refused."""

import functools
import importlib.metadata
import json
import pydoc_data.topics
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stoker.engine import core
from stoker.errors import UserError
from stoker.inputs import Present, Text, from_json, to_json
from test_inputs import both, read, spec_of

hf = pytest.importorskip("tokenizers")
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LEADS = [*range(0xC2, 0xF5)]


@functools.cache
def corpus():
    """Python's own documentation, and what the authors of packages say of them, by paragraphs."""
    told = [*pydoc_data.topics.topics.values()]
    told += [one.metadata.get_payload() or "" for one in importlib.metadata.distributions()]
    return [paragraph for text in told for paragraph in text.split("\n\n") if paragraph]


@functools.cache
def bert(lower=True, accents=None, chinese=True, clean=True):
    own = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    own.normalizer = normalizers.BertNormalizer(clean, chinese, accents, lower)
    own.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    own.train_from_iterator(corpus()[::7], trainers.WordPieceTrainer(vocab_size=1500, special_tokens=SPECIAL))
    own.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return own


@functools.cache
def gpt(blank_first=False, ends=True, whole=False):
    own = Tokenizer(models.BPE(ignore_merges=whole))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=blank_first)
    own.train_from_iterator(corpus()[::7], trainers.BpeTrainer(
        vocab_size=1500, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<s>", "<pad>", "</s>"]))  # fmt: skip
    own.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<right>", rstrip=True)])
    own.add_tokens([AddedToken("Spark ML", normalized=True), AddedToken("<s>s", normalized=False)])
    if ends:
        own.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return own


@functools.cache
def cuts():
    """Byte pairs that show where words end: the first byte of each character goes with what is before it, if it may."""
    letters = {byte: letter for letter, byte in alphabet().items()}
    vocabulary = {letter: i for i, letter in enumerate(letters.values())}
    pairs = [(letters[ord(before)], letters[lead]) for before in "a1# \n" for lead in LEADS]
    for pair in pairs:
        vocabulary["".join(pair)] = len(vocabulary)
    own = Tokenizer(models.BPE(vocabulary, pairs))
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return own


def alphabet():
    from stoker.inputs.huggingface import _ALPHABET

    assert sorted(_ALPHABET) == sorted(pre_tokenizers.ByteLevel.alphabet())
    return _ALPHABET


@functools.cache
def single(lower=True, accents=True):
    """Whose every character is a token, so that numbers show what became of each."""
    known = sorted({char for code in range(0x3400) for char in told_apart(chr(code))})
    words = [*SPECIAL, *known, *(f"##{char}" for char in known)]
    own = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    own.normalizer = normalizers.BertNormalizer(True, True, accents, lower)
    own.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return own


def told_apart(char):
    small = normalizers.Lowercase().normalize_str(char)
    return {*char, *small, *normalizers.NFD().normalize_str(char), *normalizers.NFD().normalize_str(small)} - {" "}


ALL = {
    "bert": bert, "cased": lambda: bert(False), "accents": lambda: bert(True, False), "as it is": lambda: bert(
        False, True, False, False), "roberta": lambda: gpt(True), "gpt2": lambda: gpt(False, False),
    "whole": lambda: gpt(False, False, True), "cuts": cuts, "single": single,
    "single cased": lambda: single(False, False),
}  # fmt: skip


def wanted(own, texts, length):
    """Numbers and masks by the package."""
    own = Tokenizer.from_str(own.to_str())
    own.enable_truncation(length)
    own.enable_padding(length=length, pad_id=own.token_to_id("[PAD]") or own.token_to_id("<pad>") or 0)
    found = own.encode_batch(texts)
    return [one.ids for one in found], [one.attention_mask for one in found]


def column(texts):
    return pa.record_batch({"c": pa.array(texts, pa.string())})


def sent(texts, item):
    return pa.RecordBatch.from_arrays([pa.array(texts, pa.string())], [spec_of("x", item)["fields"][0]["column"]])


def check(own, texts, length):
    item = Text.of_tokenizer(own, "c", length)
    ids, masks = wanted(own, texts, length)
    for entry, want in ((item, ids), (Present(item), masks)):
        np.testing.assert_array_equal(read(spec_of("x", entry), [sent(texts, item)]), np.reshape(want, (-1, length)))


@pytest.mark.parametrize("name", ALL)
def test_real_texts_have_the_numbers_of_the_package(name):
    texts = corpus()[: 3000 if name in ("bert", "roberta") else 600]
    assert sum(map(len, texts)) > 80_000
    check(ALL[name](), texts, 256)
    check(ALL[name](), texts[:300], 7)


PIECES = ["[CLS]", "[MASK]", "<s>", "</s>", "<s>s", " <mask>", "<mask>", "<right>  x", "Spark ML", "'ll", "'S", "it's",
          "\n\n", " ", "  ", "\t", "\u3000", "\x85", "\u00a0", "\u200b", "\ufeff", "1\u0663", "e\u0301\u0327", "İ", "ẞ",
          "한국어", "汉字", "\u0345\u0301", "a" * 30, "x.y", "##ing", "\u2028", "🙂\u200d🙂",
          "\u1e9b\u0323"]  # fmt: skip
ODD = st.text(max_size=40) | st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)


@settings(max_examples=400, deadline=None)
@given(st.lists(ODD, min_size=1, max_size=6), st.sampled_from(sorted(ALL)), st.integers(3, 60))
@example(["", " ", "\n", "a"], "roberta", 5)
@example(["\u1160\u11a8 \uac00\u11a8", "\u0344\u0f73", "<right>   <mask>"], "single", 9)
def test_drawn_texts_have_the_numbers_of_the_package(texts, name, length):
    texts = [text for text in texts if text.isprintable() or "\0" not in text]
    check(ALL[name](), texts or [""], length)


@pytest.mark.parametrize("name", ["cuts", "single", "single cased"])
def test_characters_are_what_they_are_to_the_package(name):
    """One of 17, and all that other texts are likely to have."""
    codes = [c for c in range(0x110000) if (c < 0x3400 or c % 17 == 3) and not 0xD800 <= c < 0xE000]
    texts = [f"a{chr(c)}1{chr(c)}#{chr(c)} {chr(c)}\n{chr(c)}" for c in codes]
    check(ALL[name](), texts, 64)


def test_long_words_and_empty_texts_end_well():
    draw = np.random.default_rng(5)
    huge = "".join(draw.choice(list("abcé"), 100_000))
    for name in ("bert", "roberta", "cuts"):
        check(ALL[name](), ["", huge, huge + " end", "\u0301" * 5000, "a" * 49, "ab" * 24, "ab" * 25], 40_000)


def test_bytes_that_are_no_utf8_are_read_as_python_replaces_them():
    broken = [b"caf\xc3", b"\xff\xfe word", b"a\xe2\x82b\xf0\x9f\x99", b"\xed\xa0\x80x", b"\xc0\x80", b"good"]
    texts = [one.decode(errors="replace") for one in broken]
    for own in (bert(), gpt(True), cuts()):
        item = Text.of_tokenizer(own, "c", 20)
        raw = pa.Array.from_buffers(pa.string(), len(broken), pa.array(broken, pa.binary()).buffers())
        batch = pa.RecordBatch.from_arrays([raw], sent(texts, item).schema.names)
        np.testing.assert_array_equal(read(spec_of("x", item), [batch]), wanted(own, texts, 20)[0])


def test_rows_do_not_hang_on_batches_and_nulls_are_empty_texts():
    item = Text.of_tokenizer(bert(), "c", 6, nulls="fill")
    rows = [{"c": text} for text in ["one", None, "two words", ""]]
    found = both(item, rows, {"c": pa.string()}, cuts=(1, 2))
    np.testing.assert_array_equal(found[1], [2, 3, 0, 0, 0, 0])
    np.testing.assert_array_equal(found, wanted(bert(), ["one", "", "two words", ""], 6)[0])


def test_what_stands_around_a_text_stays_where_it_is_cut():
    one, two = (read(spec_of("x", Text.of_tokenizer(bert(), "c", n)), [sent(["words"], Text("c", n, "byte"))])
                for n in (1, 2))  # fmt: skip
    assert one.tolist() == [[2]] and two.tolist() == [[2, 3]]


# --- where they come from ---------------------------------------------------------------------------------------------


def test_files_and_folders_say_the_same_as_the_tokenizer(tmp_path):
    own = bert()
    own.save(str(tmp_path / "tokenizer.json"))
    item = Text.of_tokenizer(own, "c", 9)
    assert item == Text.of_tokenizer(tmp_path, "c", 9) == Text.of_tokenizer(str(tmp_path / "tokenizer.json"), "c", 9)
    assert item == Text.of_tokenizer((tmp_path / "tokenizer.json").read_bytes(), "c", 9)
    assert item.tokenizer == "wordpiece" and item.bos and item.eos and item.pad == 0
    assert item.size == own.get_vocab_size()
    bare = tmp_path / "bare"
    bare.mkdir()
    own.model.save(str(bare))
    assert Text.of_tokenizer(bare, "c", 9).pieces == Text.of_tokenizer(bare / "vocab.txt", "c", 9).pieces
    texts = ["Some words, [MASK] too", "Größe"]
    want = Tokenizer.from_str(own.to_str().replace('"max_input_chars_per_word":20', '"max_input_chars_per_word":100'))
    got = read(spec_of("x", Text.of_tokenizer(bare, "c", 9)), [sent(texts, item)])
    np.testing.assert_array_equal(got, wanted(want, texts, 9)[0])
    (bare / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = Text.of_tokenizer(bare, "c", 9)
    want = Tokenizer.from_str(want.to_str().replace('"lowercase":true', '"lowercase":false'))
    np.testing.assert_array_equal(read(spec_of("x", cased), [sent(texts, cased)]), wanted(want, texts, 9)[0])


def test_a_folder_of_byte_pairs_is_read_as_transformers_reads_it(tmp_path):
    transformers = pytest.importorskip("transformers")
    own = gpt(False, True)
    own.model.save(str(tmp_path))
    texts = ["It's  <s>here</s>", " <mask> ", "a", ""]
    item = Text.of_tokenizer(tmp_path, "c", 12)
    assert item.bos and item.eos and item.tokenizer == "bpe" and item.pad == 1
    theirs = transformers.RobertaTokenizerFast(vocab=str(tmp_path / "vocab.json"), merges=str(tmp_path / "merges.txt"))
    want = theirs(texts, truncation=True, padding="max_length", max_length=12)["input_ids"]
    got = read(spec_of("x", item), [sent(texts, item)])
    vocabulary = own.model and json.loads((tmp_path / "vocab.json").read_text())
    assert "<mask>" not in vocabulary  # of which transformers makes one more token
    np.testing.assert_array_equal(got[[0, 2, 3]], np.array(want)[[0, 2, 3]])


def test_fast_tokenizers_of_transformers_are_taken():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=bert(), pad_token="[MASK]")
    item = Text.of_tokenizer(theirs, "c", 9)
    assert item.pad == 4 and item.pieces == Text.of_tokenizer(bert(), "c", 9).pieces
    theirs.padding_side = "left"
    with pytest.raises(UserError, match=r"Text\('c'\): the tokenizer's padding_side is 'left'; Text cuts and pads on"):
        Text.of_tokenizer(theirs, "c", 9)


def test_declarations_survive_json():
    for own in (bert(), gpt()):
        told = {"x": Text.of_tokenizer(own, "c", 5)}
        assert from_json(json.loads(json.dumps(to_json(told)))) == told
        assert len(repr(told["x"])) < 200


# --- what is refused --------------------------------------------------------------------------------------------------


def changed(own, **parts):
    told = json.loads(own.to_str())
    for path, value in parts.items():
        *way, last = path.split("__")
        inner = told
        for step in way:
            inner = inner[step]
        inner[last] = value
    return json.dumps(told).encode()


UNIGRAM = Tokenizer(models.Unigram([("a", 0.0)]))
TEMPLATE = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 1}}], "pair": [],
            "special_tokens": {}}  # fmt: skip
REFUSED = [
    (lambda: UNIGRAM, "the tokenizer's model is Unigram; there are WordPiece and BPE; for one of SentencePiece give"),
    (lambda: Tokenizer(models.WordLevel({"a": 0}, "a")), "the tokenizer's model is WordLevel; there are WordPiece and"),
    (lambda: changed(bert(), normalizer={"type": "Lowercase"}), "the tokenizer's normalizer is Lowercase; WordPiece "
     "goes with BertNormalizer"),
    (lambda: changed(bert(), normalizer={"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]}),
     "the tokenizer's normalizer is a Sequence of NFD, Lowercase; WordPiece goes with"),
    (lambda: changed(bert(), pre_tokenizer={"type": "Whitespace"}), "the tokenizer's pre-tokenizer is Whitespace; "),
    (lambda: changed(gpt(), normalizer={"type": "NFC"}), "the tokenizer's normalizer is NFC; BPE goes with no norm"),
    (lambda: changed(gpt(), pre_tokenizer=None), "the tokenizer's pre-tokenizer is none; BPE goes with ByteLevel"),
    (lambda: changed(gpt(), pre_tokenizer__use_regex=False), "does not cut into words by itself"),
    (lambda: changed(gpt(), model__dropout=0.1), "the tokenizer's BPE has dropout=0.1, which Text does not do"),
    (lambda: changed(gpt(), model__byte_fallback=True), "the tokenizer's BPE has byte_fallback=True"),
    (lambda: changed(gpt(), model__end_of_word_suffix="</w>"), "the tokenizer's BPE has end_of_word_suffix='</w>'"),
    (lambda: changed(bert(), padding={"direction": "Left"}), "the tokenizer's padding is on the left; Text cuts and"),
    (lambda: changed(bert(), truncation={"direction": "Left"}), "the tokenizer's truncation is on the left"),
    (lambda: changed(bert(), post_processor={"type": "Other"}), "the tokenizer's post-processor is Other; there are"),
    (lambda: changed(bert(), post_processor=TEMPLATE), "has type ids other than 0 for single texts"),
    (lambda: changed(bert(), model__vocab={}), "the vocabulary is empty"),
    (lambda: changed(bert(), model__vocab={"a": 0}), r"the vocabulary lacks the token for unknown words, '\[UNK\]'"),
    (lambda: changed(bert(), model__vocab={"a": 0, "[UNK]": 0}), r"the vocabulary gives 0 to both 'a' and '\[UNK\]'"),
    (lambda: changed(bert(), model__vocab={"a": "b"}), "a vocabulary gives whole numbers from 0 on to tokens; this .*"),
    (lambda: changed(bert(), model__vocab={"[UNK]": 99_999_999}), "the vocabulary's 1 tokens have numbers up to 99,"),
    (lambda: changed(gpt(), model__merges=["a b c"]), "merge 1 is 'a b c', not two tokens"),
    (lambda: changed(gpt(), model__merges=[["a", "☃"]]), "merge 1, 'a ☃': the vocabulary lacks '☃'"),
    (lambda: changed(gpt(), model__vocab={"a": 0}, model__merges=[]), "the vocabulary has no token for the byte 0"),
    (lambda: b"{}", "this is no tokenizer.json: it has no model"),
    (lambda: b"[1]", "this is no tokenizer.json: it has no model"),
    (lambda: b"\xff", "the tokenizer is no JSON: "),
    (lambda: b'{"model": {"type": "WordPiece"}, "normalizer": {"type": "BertNormalizer"}}', "the tokenizer's pre-tok"),
    (lambda: changed(bert(), normalizer={"type": "BertNormalizer"}), "cannot be read: KeyError: 'lowercase'"),
    (lambda: "/nowhere/tokenizer.json", "cannot read the tokenizer: .*No such file"),
    (lambda: 7, "a int is no fast tokenizer of transformers, and none of tokenizers: give one, or the path of a fold"),
]  # fmt: skip


@pytest.mark.parametrize("make, words", REFUSED)
def test_what_would_not_be_exact_is_refused_by_name(make, words):
    with pytest.raises(UserError, match=r"Text\('c'\): .*" + words):
        Text.of_tokenizer(make(), "c", 5)


def test_other_refusals(tmp_path):
    told = json.loads(bert().to_str())
    told["added_tokens"][0]["single_word"] = True
    with pytest.raises(UserError, match=r"the added token '\[PAD\]' has single_word=True, which Text does not do"):
        Text.of_tokenizer(json.dumps(told).encode(), "c", 5)
    with pytest.raises(UserError, match=r"has no tokenizer\.json, vocab\.txt, or vocab\.json with merges\.txt"):
        Text.of_tokenizer(tmp_path, "c", 5)
    (tmp_path / "vocab.txt").write_text("[UNK]\na\na\n")
    with pytest.raises(UserError, match="the vocabulary holds 'a' twice"):
        Text.of_tokenizer(tmp_path, "c", 5)
    (tmp_path / "vocab.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"vocab\.txt is no UTF-8"):
        Text.of_tokenizer(tmp_path, "c", 5)
    (tmp_path / "vocab.txt").rename(tmp_path / "spiece.model")
    with pytest.raises(UserError, match="is a SentencePiece model: Text"):
        Text.of_tokenizer(tmp_path, "c", 5)
    with pytest.raises(UserError, match=r"Text\('c'\): this is a tokenizer='bpe', not 'wordpiece'"):
        Text("c", 5, "wordpiece", pieces=gpt())
    with pytest.raises(UserError, match="the tokenizer has no token for the begin of a text"):
        Text("c", 5, "bpe", pieces=gpt(False, False), bos=True)


def test_the_engine_refuses_descriptions_that_are_none():
    for words, description in [
        ("this describes no tokenizer", b"{"),
        ("this describes no tokenizer", b"{}"),
        ("unknown kind of tokenizer 'x'", b'{"kind": "x"}'),
        ("a token has the number 5, and there are those below 1",
         b'{"kind": "wordpiece", "tokens": ["a"], "added": [], "before": [5], "after": []}'),
    ]:  # fmt: skip
        with pytest.raises(core().UserError, match=words):
            core().count_tokens(description, False, False)


def test_an_engine_that_is_asked_in_threads_says_the_same():
    from concurrent.futures import ThreadPoolExecutor

    item, texts = Text.of_tokenizer(gpt(), "c", 64), corpus()[:400]
    reader = core().TensorReader(json.dumps([spec_of("x", item)]), 0)
    want = reader.read(sent(texts, item))[0]
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(lambda _: reader.read(sent(texts, item))[0], range(8)):
            np.testing.assert_array_equal(got, want)
    assert sys.getsizeof(item.pieces) < 200_000
