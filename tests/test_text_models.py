"""Text models whose parameters change after the fit, that go on, and whose folders plain transformers reads."""

import json

import numpy as np
import pytest
import torch
from pyspark.ml import Pipeline

from stoker import StokerTextClassificationModel, StokerTextClassifier
from stoker.errors import UserError
from stoker.ml import hugging_files
from stoker.ml.tokens import Step, declared

hf = pytest.importorskip("transformers")
from test_text_estimators import FIT, ROWS, Mean, by_transformers, check_folder, df, distil, scores, unigram  # noqa: E402
from test_tokenizers import bert, gpt  # noqa: E402

assert df  # a fixture
SHORT = {**FIT, "epochs": 1}


@pytest.fixture(scope="module", params=["engine", "pandas"])
def fitted(request, df):
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=bert(), pad_token="[PAD]", unk_token="[UNK]")
    tokenizer = tokenizer if request.param == "engine" else unigram()
    net = distil(tokenizer.backend_tokenizer)
    told = {**SHORT, "evalMetrics": ["accuracy"]}
    return StokerTextClassifier(model=net, tokenizer=tokenizer, **told).fit(df)


def test_names_out_of_a_saved_model_are_no_paths(tmp_path):
    for name in ("../../evil.txt", "/evil.txt", "a/b", "..", "a\\b"):
        with pytest.raises(UserError, match="which is no name of a file in a folder of Hugging Face: do not use this"):
            StokerTextClassifier()._take_own_files({f"hf/{name}": b""})
        with pytest.raises(UserError, match="is no name of a file"):
            hugging_files.write(str(tmp_path / "in" / "folder"), {name: b"x"}, {}, [])
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]


def test_the_column_of_a_fitted_model_can_change(fitted, df, tmp_path):
    want, other = scores(fitted, df), df.selectExpr("text as other", "'x' as text", "label")
    fitted.save(str(tmp_path / "model"))
    for model in (fitted.copy(), StokerTextClassificationModel.load(str(tmp_path / "model"))):
        got = model.setTextCol("other").transform(other).select("other", "rawPrediction").collect()
        assert all((row.rawPrediction.toArray() == want[row.other]).all() for row in got)
    assert model.evaluate(other) == fitted.evaluate(df) != {}
    assert scores(fitted, df).keys() == want.keys()


def test_another_length_or_tokenizer_is_refused_after_the_fit(fitted, df, tmp_path):
    fitted.save(str(tmp_path / "model"))
    for make in (fitted.copy, lambda: StokerTextClassificationModel.load(str(tmp_path / "model"))):
        with pytest.raises(UserError, match="maxLength is 5, and the model was compiled with 12: for another one fit"):
            make().setMaxLength(5).transform(df)
        with pytest.raises(UserError, match="tokenizer is another one than the model was fit with"):
            make().setTokenizer(gpt(True)).transform(df)
    fitted.copy().setTokenizer(fitted.getTokenizer()).transform(df)


def test_going_on_reads_what_it_is_told_to(fitted, df, tmp_path):
    other = df.selectExpr("text as other", "label")
    plain = {name: value for name, value in SHORT.items() if name != "maxLength"}
    model = StokerTextClassifier(initialModel=fitted, textCol="other", **plain).fit(other)
    want = StokerTextClassifier(initialModel=fitted, **plain).fit(df)
    assert model.history[-1]["loss"] == want.history[-1]["loss"] and model.getTextCol() == "other"
    check_folder(want, df, tmp_path / "folder")
    for told, words in [
        ({"maxLength": 5}, "maxLength is 5, and the"),
        ({"tokenizer": gpt(True)}, "tokenizer is anoth"),
    ]:
        with pytest.raises(UserError, match=words):
            StokerTextClassifier(initialModel=fitted, **plain, **told).fit(df)
    net, same = distil(fitted.getTokenizer().backend_tokenizer), fitted.getTokenizer()
    StokerTextClassifier(initialModel=fitted, tokenizer=same, **plain)._going_on()
    StokerTextClassifier(initialModel=fitted, model=net, tokenizer=same, maxLength=7, **plain).fit(df)
    with pytest.raises(UserError, match="tokenizer is another one"):
        net = distil(gpt(True), pad=1)
        StokerTextClassifier(initialModel=fitted, model=net, tokenizer=gpt(True), **SHORT).fit(df)


def test_a_saved_estimator_keeps_the_folder_and_its_labels(df, tmp_path):
    stage = StokerTextClassifier(model=distil(bert(), 3), tokenizer=bert(), labelCol="word", **SHORT)
    Pipeline(stages=[stage]).save(str(tmp_path / "unfitted"))
    (model,) = Pipeline.load(str(tmp_path / "unfitted")).fit(df).stages
    model.save_hf(str(tmp_path / "folder"))
    told = json.loads((tmp_path / "folder/config.json").read_text())["id2label"]
    assert told == {"0": "fine", "1": "poor", "2": "LABEL_2"}
    net = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "folder")
    np.testing.assert_array_equal(net.classifier.weight.detach(), model._compiled.state()["classifier.weight"])


def test_two_labels_of_one_output_leave_the_configuration_as_it_is(df, tmp_path):
    stage = StokerTextClassifier(model=distil(bert(), 1), tokenizer=bert(), labelCol="word", **SHORT)
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=bert(), pad_token="[PAD]")
    stage.setTokenizer(tokenizer).fit(df).save_hf(str(tmp_path / "folder"))
    assert by_transformers(tmp_path / "folder", ROWS[:2])[ROWS[0]].shape == (1,)


def test_a_path_of_a_tokenizer_that_is_gone_does_not_matter_to_what_is_loaded(df, tmp_path):
    bert().save(str(tmp_path / "my.json"))
    stage = StokerTextClassifier(model=Mean(bert().get_vocab_size()), tokenizer=str(tmp_path / "my.json"), **SHORT)
    model = stage.fit(df)
    model.save(str(tmp_path / "model"))
    (tmp_path / "my.json").unlink()
    assert scores(StokerTextClassificationModel.load(str(tmp_path / "model")), df).keys() == set(ROWS)


def test_weights_that_the_program_has_not_are_told(tmp_path):
    with pytest.raises(UserError, match="has not all weights of the model: b are missing, so transformers would draw"):
        hugging_files.write(str(tmp_path / "new"), {}, {"a": np.zeros(1)}, ["a", "b"])
    net = hf.BertForMaskedLM(hf.BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1,
                                           intermediate_size=4))  # fmt: skip
    names = json.loads(hugging_files.of_model(net)[hugging_files.NAMES])
    assert "bert.embeddings.word_embeddings.weight" in names and "cls.predictions.decoder.weight" not in names


def test_padding_and_places_are_those_of_the_model():
    with pytest.raises(UserError, match=r"the tokenizer pads with 0, and the model's config\.pad_token_id is 1: they"):
        declared(bert(), distil(bert(), pad=1), "text", 12)
    sizes = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
    for config, kind in [(hf.RobertaConfig, hf.RobertaForSequenceClassification),
                         (hf.MPNetConfig, hf.MPNetForSequenceClassification)]:  # fmt: skip
        net = kind(config(vocab_size=2000, max_position_embeddings=14, pad_token_id=1, **sizes)).eval()
        declared(gpt(True), net, "text", 12)
        net(torch.full((1, 12), 5))
        with pytest.raises(UserError, match="maxLength is 13, and the model has places for 12 tokens"):
            declared(gpt(True), net, "text", 13)


def test_a_tokenizer_that_gives_no_mask_by_itself_is_asked_for_it():
    own = unigram()
    own.model_input_names = ["input_ids"]
    assert Step(own, "text", 6).cut(["good"])[1][0][-1] == 0
