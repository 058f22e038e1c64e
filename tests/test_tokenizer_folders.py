"""Folders of Hugging Face whose files say different things: read as AutoTokenizer reads them, or refused by name."""

import json

import numpy as np
import pytest

from stoker.errors import UserError
from stoker.inputs import Text, tokenizers
from test_inputs import read, spec_of
from test_tokenizers import bert, changed, gpt, sent

hf = pytest.importorskip("transformers")

TEXTS = ["Some Words, [MASK] too", "Größe <mask> it", "a", ""]
NAMES = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
OF_BERT = {"tokenizer_class": "BertTokenizer", **NAMES}
OF_GPT = {"tokenizer_class": "GPT2Tokenizer", "unk_token": "<s>", "bos_token": "<s>", "eos_token": "</s>"}
OF_ROBERTA = {"tokenizer_class": "RobertaTokenizer", "pad_token": "<pad>", "unk_token": "<s>"}
FOLDERS = {
    "cased": (bert, {**OF_BERT, "do_lower_case": False}, "do_lower_case is False, and the tokenizer.json beside it"),
    "accents": (bert, {**OF_BERT, "strip_accents": False}, "strip_accents is False, and the tokenizer.json beside it"),
    "blank": (lambda: gpt(False, False), {**OF_GPT, "add_prefix_space": True, "pad_token": "<pad>"},
              "add_prefix_space is True, and the tokenizer.json beside it has False"),
    "pad": (lambda: gpt(False, False), {**OF_GPT, "pad_token": "<new>"}, "pad_token '<new>' is none of the added"),
    "ends": (lambda: gpt(False, False), OF_ROBERTA, "RobertaTokenizer puts tokens around a text, and tokenizer.json"),
}  # fmt: skip


def folder_of(path, own, config):
    own.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


@pytest.mark.parametrize("name", FOLDERS)
def test_what_the_configuration_says_counts(name, tmp_path, monkeypatch):
    make, config, words = FOLDERS[name]
    folder = folder_of(tmp_path, make(), config)
    theirs = hf.AutoTokenizer.from_pretrained(folder)
    want = theirs(TEXTS, truncation=True, padding="max_length", max_length=12)["input_ids"]
    item = Text.of_tokenizer(folder, "c", 12)
    np.testing.assert_array_equal(read(spec_of("x", item), [sent(TEXTS, item)]), want)
    assert item.pad == theirs.pad_token_id
    monkeypatch.setattr(tokenizers, "has_transformers", lambda: False)
    with pytest.raises(UserError, match=words):
        Text.of_tokenizer(folder, "c", 12)


def test_special_tokens_that_are_read_as_text_are_refused(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, bert(), {**OF_BERT, "split_special_tokens": True})
    with pytest.raises(UserError, match="the tokenizer reads special tokens as text"):
        Text.of_tokenizer(folder, "c", 12)
    monkeypatch.setattr(tokenizers, "has_transformers", lambda: False)
    with pytest.raises(UserError, match=r"split_special_tokens is True, and the tokenizer\.json beside it has False"):
        Text.of_tokenizer(folder, "c", 12)


def test_a_folder_that_says_one_thing_is_read_without_transformers(tmp_path, monkeypatch):
    hf.PreTrainedTokenizerFast(tokenizer_object=bert(), **NAMES).save_pretrained(tmp_path)
    want = Text.of_tokenizer(tmp_path, "c", 12)
    monkeypatch.setattr(tokenizers, "has_transformers", lambda: False)
    assert Text.of_tokenizer(tmp_path, "c", 12) == want


MORE = [
    ("added_tokens.json", {"<new>": 1500}, "the added token '<new>' is not in the vocabulary"),
    ("tokenizer_config.json", {"added_tokens_decoder": {"1500": {"content": "<two>"}}}, "the added token '<two>' is"),
    ("special_tokens_map.json", {"additional_special_tokens": ["<more>"]}, "the added token '<more>' is not in the vo"),
    ("special_tokens_map.json", {"mask_token": {"content": "[MASK]", "lstrip": True}}, r"'\[MASK\]' has lstrip=True"),
    ("special_tokens_map.json", {"mask_token": {"content": "[MASK]", "normalized": True}}, "has normalized=True; what"),
]  # fmt: skip


@pytest.mark.parametrize("file, told, words", MORE)
def test_a_vocabulary_with_tokens_beside_it_is_refused(file, told, words, tmp_path):
    bert().model.save(str(tmp_path))
    Text.of_tokenizer(tmp_path, "c", 5)
    (tmp_path / file).write_text(json.dumps(told))
    with pytest.raises(UserError, match=words):
        Text.of_tokenizer(tmp_path, "c", 5)


def test_model_may_be_a_word_of_a_vocabulary(tmp_path):
    own = json.loads(gpt(False, False).to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps({**own["vocab"], "model": len(own["vocab"])}))
    (tmp_path / "merges.txt").write_text("\n".join(" ".join(one) for one in own["merges"]))
    assert Text.of_tokenizer(tmp_path, "c", 5).tokenizer == "bpe"


def test_files_of_a_tokenizer_are_those_of_the_one_that_was_given(tmp_path):
    from stoker.ml import hugging_files

    bert().model.save(str(tmp_path))
    (tmp_path / "my.json").write_bytes(changed(bert()))
    (tmp_path / "tokenizer.json").write_bytes(changed(gpt()))
    assert set(hugging_files.of_tokenizer(tmp_path / "vocab.txt")) == {"vocab.txt"}
    found = hugging_files.of_tokenizer(str(tmp_path / "my.json"))
    assert set(found) == {"tokenizer.json", "tokenizer_config.json"} and found["tokenizer.json"] == changed(bert())
