"""From texts to token numbers in one thread: WordPiece and byte-level BPE against the `tokenizers` package, on Python's
own documentation. Both cut at 128 tokens and pad; vocabularies of 8,000 tokens are learnt from the same texts."""

import json
import os
import pydoc_data.topics
import time
from functools import partial
from statistics import median

import pyarrow as pa

import report
from stoker.engine import core
from stoker.inputs import Text, fields

CASES = ("wordpiece", "bpe")
LENGTH = 128
BAR = 1


def paragraphs() -> list[str]:
    found = "\n\n".join(pydoc_data.topics.topics.values()).split("\n\n")
    return ["\n\n".join(found[i : i + 4]) for i in range(0, len(found), 4)]


def learnt(case: str, texts: list[str]):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    if case == "wordpiece":
        own = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        own.normalizer, own.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=8000, special_tokens=["[PAD]", "[UNK]"], show_progress=False)
    else:
        own = Tokenizer(models.BPE())
        own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=8000, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
                                      special_tokens=["<pad>"], show_progress=False)  # fmt: skip
    own.train_from_iterator(texts, trainer)
    own.enable_truncation(LENGTH)
    own.enable_padding(length=LENGTH)
    return own


def measure(case: str, repeats: int) -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    texts = paragraphs()
    own = learnt(case, texts)
    source = fields.source("x", Text.of_tokenizer(own, "text", LENGTH), None)
    spec = json.dumps([source.spec()])
    batch = pa.RecordBatch.from_arrays([pa.array(texts, pa.string())], [source.sent[0].name])
    reader = core().TensorReader(spec, 0)
    assert reader.read(batch)[0].tolist() == [one.ids for one in own.encode_batch(texts)]
    jobs = {"ours": partial(reader.read, batch), "tokenizers": partial(own.encode_batch_fast, texts)}
    taken = {side: [] for side in jobs}
    for _ in range(5 * repeats):
        for side, job in jobs.items():
            start = time.perf_counter()
            job()
            taken[side].append(time.perf_counter() - start)
    rate = {side: len(texts) / median(found) for side, found in taken.items()}
    ratio = rate["ours"] / rate["tokenizers"]
    report.row("ingest", case, rate["ours"], rate["tokenizers"], "tokenizers", "texts/s", ratio, BAR, ratio >= BAR)
