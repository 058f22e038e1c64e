"""StokerTextClassifier and StokerTextRegressor: texts in, predictions out; saved, loaded, and as a folder of Hugging
Face that plain transformers reads."""

import json

import numpy as np
import pytest
import torch
from pyspark.ml import Pipeline, PipelineModel
from torch import nn

from stoker import StokerTextClassificationModel, StokerTextClassifier, StokerTextRegressor
from stoker.errors import UserError

hf = pytest.importorskip("transformers")
from tokenizers import Tokenizer, models  # noqa: E402

from test_tokenizers import bert, gpt  # noqa: E402

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
FIT = {"batchSize": 32, "epochs": 12, "learningRate": 0.01, "numWorkers": 2, "seed": 1, "verbose": 0, "maxLength": 12}
ROWS = [("the good function returns, number %d", "a bad module raises %d")[i % 2] % i for i in range(128)]


@pytest.fixture(scope="module")
def df(spark):
    rows = [(text, i % 2, float(3 - 2 * (i % 2)), ["fine", "poor"][i % 2]) for i, text in enumerate(ROWS)]
    return spark.createDataFrame(rows, "text string, label int, score float, word string").repartition(3).cache()


def distil(tokenizer, labels=2, pad=0):
    torch.manual_seed(0)
    config = hf.DistilBertConfig(vocab_size=tokenizer.get_vocab_size(), dim=16, n_layers=1, n_heads=2, hidden_dim=32,
                                 max_position_embeddings=20, num_labels=labels, pad_token_id=pad)  # fmt: skip
    return hf.DistilBertForSequenceClassification(config)


class Mean(nn.Module):
    """Any model over token numbers and their mask."""

    def __init__(self, size, outputs=2):
        super().__init__()
        self.table, self.last = nn.Embedding(size, 8), nn.Linear(8, outputs)

    def forward(self, numbers, kept):
        kept = kept.unsqueeze(-1)
        return self.last((self.table(numbers) * kept).sum(1) / kept.sum(1).clamp(min=1))


def scores(model, df, column="rawPrediction"):
    rows = model.transform(df).select("text", column).collect()
    return {row.text: row[column].toArray() if column != "prediction" else row[column] for row in rows}


def by_transformers(folder, texts, length=12):
    """The scores of a folder by plain transformers."""
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    model = hf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    inputs = tokenizer(texts, truncation=True, padding="max_length", max_length=length, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        return dict(zip(texts, model(**inputs).logits.numpy()))


def check_folder(model, df, folder):
    model.save_hf(str(folder))
    ours, theirs = scores(model, df), by_transformers(folder, ROWS[:20])
    for text, want in theirs.items():
        np.testing.assert_allclose(ours[text], want, atol=1e-5)


def test_a_classifier_learns_texts_and_is_a_folder_that_transformers_reads(df, tmp_path):
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=bert(), pad_token="[PAD]", unk_token="[UNK]")
    net = distil(bert())
    estimator = StokerTextClassifier(model=net, tokenizer=tokenizer, labelCol="word", **FIT)
    model = estimator.fit(df)
    assert model.transform(df).where("prediction = word").count() == len(ROWS)
    assert model.predict(ROWS[0]) == "fine" and model.predict(ROWS[1]) == "poor"
    assert model.transform(df).columns == [*df.columns, "rawPrediction", "probability", "prediction"]
    check_folder(model, df, tmp_path / "folder")
    config = json.loads((tmp_path / "folder/config.json").read_text())
    assert config["id2label"] == {"0": "fine", "1": "poor"}
    assert config["architectures"] == ["DistilBertForSequenceClassification"]


def test_in_a_pipeline_it_is_saved_and_loaded_whole(df, tmp_path):
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=gpt(True), pad_token="<pad>")
    stage = StokerTextClassifier(model=distil(gpt(True), pad=1), tokenizer=tokenizer, **FIT | {"epochs": 2})
    fitted = Pipeline(stages=[stage]).fit(df)
    fitted.save(str(tmp_path / "fitted"))
    loaded = PipelineModel.load(str(tmp_path / "fitted"))
    (model,) = loaded.stages
    assert isinstance(model, StokerTextClassificationModel)
    want, got = scores(fitted, df), scores(loaded, df)
    assert all((want[text] == got[text]).all() for text in ROWS)
    check_folder(model, df, tmp_path / "folder")
    Pipeline(stages=[stage]).save(str(tmp_path / "unfitted"))
    again = scores(Pipeline.load(str(tmp_path / "unfitted")).fit(df), df)
    assert all((want[text] == again[text]).all() for text in ROWS)
    going_on = StokerTextClassifier(initialModel=model, **FIT | {"epochs": 1}).fit(df)
    assert going_on._hugging == model._hugging and (scores(going_on, df)[ROWS[0]] != want[ROWS[0]]).any()


def test_gpt2_pads_as_its_configuration_says(df, tmp_path):
    own = gpt(False, False)
    size = own.get_vocab_size()
    torch.manual_seed(0)
    config = hf.GPT2Config(vocab_size=size, n_positions=16, n_embd=16, n_layer=1, n_head=2, num_labels=2,
                           pad_token_id=size - 1, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)  # fmt: skip
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=own, pad_token=own.id_to_token(size - 1))
    net = hf.GPT2ForSequenceClassification(config)
    model = StokerTextClassifier(model=net, tokenizer=tokenizer, **FIT | {"epochs": 1}).fit(df)
    assert model.getInputs()["input_ids"].pad == size - 1
    check_folder(model, df, tmp_path / "folder")


def unigram():
    """A tokenizer that the engine has not: pieces of SentencePiece's kind without its file."""
    pieces = {letter for text in ROWS for letter in text} | {"good", "bad", "function", "module"}
    own = Tokenizer(models.Unigram([("<pad>", 0.0), ("<unk>", 0.0), *((one, -len(one) / 9) for one in sorted(pieces))],
                                   1))  # fmt: skip
    return hf.PreTrainedTokenizerFast(tokenizer_object=own, pad_token="<pad>", unk_token="<unk>")


def test_another_tokenizer_runs_in_pandas(df, tmp_path):
    tokenizer = unigram()
    model = StokerTextClassifier(model=distil(tokenizer.backend_tokenizer), tokenizer=tokenizer, **FIT).fit(df)
    assert model.transform(df).columns == [*df.columns, "rawPrediction", "probability", "prediction"]
    want = scores(model, df)
    check_folder(model, df, tmp_path / "folder")
    model.save(str(tmp_path / "model"))
    loaded = StokerTextClassificationModel.load(str(tmp_path / "model"))
    got = scores(loaded, df)
    assert all((want[text] == got[text]).all() for text in ROWS)
    assert loaded.predict(ROWS[3]) == want[ROWS[3]].argmax()


def test_any_model_over_numbers_and_a_mask_and_nulls_are_empty(spark, df):
    size = bert().get_vocab_size()
    told = {**FIT, "learningRate": 0.05, "epochs": 30, "evalMetrics": ["mean_absolute_error"]}
    model = StokerTextRegressor(model=Mean(size, 1), tokenizer=bert(), labelCol="score", **told).fit(df)
    assert model.evaluate(df, ["mean_absolute_error"])["mean_absolute_error"] < 0.5
    assert abs(model.predict(ROWS[0]) - 3) < 0.6
    empty = spark.createDataFrame([(None,), ("",)], "text string")
    one, other = [row.prediction for row in model.transform(empty).collect()]
    assert one == other
    with pytest.raises(UserError, match="the model that was fit is none of transformers, so there is no folder of Hug"):
        model.save_hf("/nowhere")
    with pytest.raises(UserError, match="this model takes a text, not a list"):
        model.predict([1.0])


def test_the_numbers_are_those_of_a_classifier_with_declared_inputs(df):
    from stoker import StokerClassifier
    from stoker.inputs import Present, Text

    told = {key: value for key, value in FIT.items() if key != "maxLength"} | {"epochs": 2}
    text = Text.of_tokenizer(bert(), "text", 12)
    net = distil(bert())
    wanted = StokerClassifier(model=net, inputs={"input_ids": text, "attention_mask": Present(text)}, **told).fit(df)
    got = StokerTextClassifier(model=net, tokenizer=bert(), **FIT | {"epochs": 2}).fit(df)
    assert [epoch["loss"] for epoch in got.history] == [epoch["loss"] for epoch in wanted.history]


def small_vocabulary():
    net = distil(bert())
    net.config.vocab_size = 10
    return net


REFUSED = [
    ({"model": Mean(9)}, "tokenizer is not set: give a tokenizer of transformers, or the path of its folder"),
    ({"model": Mean(9), "tokenizer": "/nowhere/vocab.txt"}, "cannot read the tokenizer: .*No such file"),
    ({"model": Mean(9), "tokenizer": bert, "inputs": {"x": "text"}}, "inputs is set, and the model's inputs are made"),
    ({"model": small_vocabulary, "tokenizer": bert}, "the tokenizer has numbers up to .*, and the model's vocabulary"),
    ({"model": lambda: distil(bert()), "tokenizer": bert, "maxLength": 50}, "maxLength is 50, and the model has pla"),
]


@pytest.mark.parametrize("params, words", REFUSED)
def test_what_does_not_go_together_is_told(params, words, df):
    made = {name: value() if value is bert else value for name, value in params.items()}
    with pytest.raises(UserError, match=words):
        StokerTextClassifier(**made).fit(df)


def test_a_folder_that_is_there_is_not_written_over(df, tmp_path):
    model = StokerTextClassifier(model=distil(bert()), tokenizer=bert(), **FIT | {"epochs": 1}).fit(df)
    (tmp_path / "config.json").write_text("mine")
    with pytest.raises(UserError, match="exists already: give another folder, or remove it"):
        model.save_hf(str(tmp_path))
    assert (tmp_path / "config.json").read_text() == "mine"
