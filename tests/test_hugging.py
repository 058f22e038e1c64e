"""Models of Hugging Face transformers: their own loss and its gradients, by their usual call; and what is refused."""

import copy
import os

import numpy as np
import pytest
import torch
from torch import nn

from conformance.harness import PythonRunner, as_given
from stoker import StokerClassificationModel, StokerClassifier, StokerEstimator
from stoker.errors import UserError
from stoker.frontend import torch as frontend
from stoker.frontend.agreement import settle
from stoker.frontend.copies import to_run
from stoker.frontend.hugging import own_loss, told_type
from stoker.program import TensorSpec

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
hf = pytest.importorskip("transformers")
ROWS, WORDS, LENGTH, CLASSES = 6, 50, 10, 3
SIZES = {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 32, "max_position_embeddings": 20}  # fmt: skip
STILL = {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}
GPT2 = {"vocab_size": WORDS, "n_positions": 20, "n_embd": 16, "n_layer": 1, "n_head": 2, "resid_pdrop": 0.0,
        "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}  # fmt: skip
LLAMA = {**SIZES, "num_key_value_heads": 1, "pad_token_id": 0}
BART = {"vocab_size": WORDS, "d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32,
        "max_position_embeddings": 20, "dropout": 0.0}  # fmt: skip
PROPHET = {"vocab_size": WORDS, "hidden_size": 16, "num_encoder_layers": 1, "num_encoder_attention_heads": 2,
           "encoder_ffn_dim": 32, "num_decoder_layers": 1, "num_decoder_attention_heads": 2, "decoder_ffn_dim": 32,
           "max_position_embeddings": 20, "dropout": 0.0, "attention_dropout": 0.0,
           "activation_dropout": 0.0}  # fmt: skip
KINDS = {
    "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**SIZES, **STILL, num_labels=CLASSES)),
    "bert, one number": lambda: hf.BertForSequenceClassification(hf.BertConfig(**SIZES, **STILL, num_labels=1)),
    "bert, masked words": lambda: hf.BertForMaskedLM(hf.BertConfig(**SIZES, **STILL)),
    "distilbert, words": lambda: hf.DistilBertForTokenClassification(hf.DistilBertConfig(
        vocab_size=WORDS, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=20, num_labels=CLASSES,
        dropout=0.0, attention_dropout=0.0)),
    "roberta": lambda: hf.RobertaForSequenceClassification(hf.RobertaConfig(**SIZES, **STILL, num_labels=CLASSES)),
    "gpt2": lambda: hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2)),
    "gpt2, classes": lambda: hf.GPT2ForSequenceClassification(hf.GPT2Config(**GPT2, num_labels=CLASSES)),
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA)),
    "t5": lambda: hf.T5ForConditionalGeneration(hf.T5Config(
        vocab_size=WORDS, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0,
        dropout_rate=0.0)),
    "bart, next words": lambda: hf.BartForCausalLM(hf.BartConfig(**BART)),
    "xlnet": lambda: hf.XLNetLMHeadModel(hf.XLNetConfig(
        vocab_size=WORDS, d_model=16, n_layer=1, n_head=2, d_inner=32, dropout=0.0)),
    "vit": lambda: hf.ViTForImageClassification(hf.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8,
        num_labels=CLASSES, **STILL)),
    "resnet": lambda: hf.ResNetForImageClassification(hf.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=CLASSES)),
}  # fmt: skip


def rows_for(kind):
    """Inputs and labels; two rows end in padding."""
    random = torch.Generator().manual_seed(1)
    if kind in ("vit", "resnet"):
        inputs = {"pixel_values": torch.randn(ROWS, 3, 16, 16, generator=random)}
    else:
        words, mask = torch.randint(3, WORDS, (ROWS, LENGTH), generator=random), torch.ones(ROWS, LENGTH).long()
        mask[2:4, 7:] = 0
        inputs = {"input_ids": words * mask, "attention_mask": mask}
    if kind == "t5":
        inputs["decoder_input_ids"] = torch.randint(3, WORDS, (ROWS, 8), generator=random)
        return inputs, torch.randint(0, WORDS, (ROWS, 8), generator=random)
    if kind in ("bert, masked words", "distilbert, words", "gpt2", "llama", "bart, next words", "xlnet"):
        return inputs, torch.randint(0, CLASSES, (ROWS, LENGTH), generator=random).where(mask == 1, -100)
    if kind == "bert, one number":
        return inputs, torch.randn(ROWS, generator=random)
    return inputs, torch.randint(0, CLASSES, (ROWS,), generator=random)


def spec_of(name, tensor):
    return TensorSpec(name, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape[1:]))


def made(kind):
    torch.manual_seed(0)
    return KINDS[kind]()


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_the_models_own(kind):
    model, (inputs, labels) = made(kind), rows_for(kind)
    before = copy.deepcopy(model.config.to_dict())
    specs = [spec_of(*item) for item in inputs.items()]
    compiled = frontend.compile(model, own_loss(model), specs, [spec_of("labels", labels)])
    assert model.config.to_dict() == before
    assert not any(note.startswith("the loss") for note in compiled.notes)
    rows = [tensor.numpy() for tensor in (*inputs.values(), labels)]
    found = PythonRunner(compiled.train).run(compiled.weights, rows)
    expected = model.train()(**inputs, labels=labels)
    expected.loss.backward()
    assert found["numerator"] / found["denominator"] == pytest.approx(expected.loss.item(), rel=1e-6)
    own = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    largest = max(float(gradient.abs().max()) for gradient in own.values())
    for name, gradient in as_given(compiled.train, found["gradients"]).items():
        apart = np.abs(gradient / found["denominator"] - own[name].numpy()).max()
        assert apart <= 1e-6 * largest, name


def test_a_part_of_the_rows_counts_as_many_words_as_it_has():
    """The mean over words of a batch is not the mean of its parts' means."""
    model, (inputs, labels) = made("gpt2"), rows_for("gpt2")
    compiled = frontend.compile(model, own_loss(model), [spec_of(*item) for item in inputs.items()],
                                [spec_of("labels", labels)])  # fmt: skip
    assert not compiled.notes
    rows = [tensor.numpy() for tensor in (*inputs.values(), labels)]
    parts = [
        PythonRunner(compiled.train).run(compiled.weights, [row[a:b] for row in rows]) for a, b in ((0, 2), (2, 6))
    ]
    whole = sum(part["numerator"] for part in parts) / sum(part["denominator"] for part in parts)
    assert whole == pytest.approx(model(**inputs, labels=labels).loss.item(), rel=1e-6)


def test_a_loss_that_is_no_cross_entropy_of_the_logits_is_taken_as_the_model_tells_it():
    torch.manual_seed(0)
    model = hf.ProphetNetForConditionalGeneration(hf.ProphetNetConfig(**PROPHET))
    *inputs, label = [TensorSpec(name, "int64", (LENGTH,)) for name in ("input_ids", "decoder_input_ids", "label")]
    loss = own_loss(model)
    settle(loss, to_run(model)[0], inputs, [label])
    assert loss.into_forward({"y": 1}) == {"labels": 1}


class TwiceForImageClassification(hf.ResNetForImageClassification):
    """Its name tells a loss that it does not have."""

    def forward(self, pixel_values, labels=None):
        found = super().forward(pixel_values, labels=labels)
        return found if labels is None else {**found, "loss": 2 * found.loss}


def test_a_loss_that_is_not_what_its_name_says_is_the_models_own_too():
    model, (inputs, labels) = TwiceForImageClassification(made("resnet").config), rows_for("resnet")
    specs = [[spec_of(*item) for item in inputs.items()], [spec_of("labels", labels)]]
    compiled = frontend.compile(model, own_loss(model), *specs)
    found = PythonRunner(compiled.train).run(compiled.weights, [inputs["pixel_values"].numpy(), labels.numpy()])
    assert found["numerator"] / found["denominator"] == pytest.approx(model(**inputs, labels=labels)["loss"].item())
    with pytest.raises(
        UserError, match="mix='mixup': the loss of TwiceForImageClassification is one number for the rows of a"
    ):
        frontend.compile(model, own_loss(model), *specs, mix={"name": "mixup", "alpha": 1.0})


@pytest.fixture(scope="module")
def texts(spark):
    random = np.random.default_rng(0)
    words = random.integers(3, WORDS, (60, LENGTH))
    rows = [(row.tolist(), [1] * LENGTH, int(row[0] % 2)) for row in words]
    return spark.createDataFrame(rows, "words array<int>, mask array<int>, label int")


def test_a_classifier_trains_predicts_and_is_saved(texts, tmp_path):
    torch.manual_seed(0)
    net = hf.GPT2ForSequenceClassification(hf.GPT2Config(**GPT2, num_labels=2))
    inputs = {"input_ids": "words", "attention_mask": "mask"}
    fit = StokerClassifier(model=net, inputs=inputs, epochs=2, batchSize=20, verbose=0).fit(texts)
    assert net.config.use_cache and type(fit.torch()) is type(net)
    rows = texts.toPandas()
    words, mask = (torch.tensor(np.stack(rows[name])).long() for name in ("words", "mask"))
    expected = fit.torch().eval()(input_ids=words, attention_mask=mask).logits.detach().numpy()
    fit.save(str(tmp_path / "model"))
    for model in (fit, StokerClassificationModel.load(str(tmp_path / "model"))):
        found = np.array([row.rawPrediction.toArray() for row in model.transform(texts).collect()])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_an_estimator_without_a_loss_takes_the_models_own(texts):
    net = made("gpt2")
    fit = StokerEstimator(model=net, featuresCol="words", labelCol="words", epochs=2, batchSize=20, verbose=0).fit(
        texts
    )
    assert fit.history[1]["loss"] < fit.history[0]["loss"]
    assert len(fit.transform(texts).first().prediction.toArray()) == LENGTH * WORDS


def error_of(texts, kind=StokerClassifier, **params):
    with pytest.raises(UserError) as caught:
        kind(verbose=0, **params).fit(texts)
    return str(caught.value)


def test_wrong_uses_are_told_by_name(texts):
    bert = hf.BertModel(hf.BertConfig(**SIZES))
    told = error_of(texts, StokerEstimator, model=bert, featuresCol="words")
    assert "BertModel has none of its own (its forward takes no labels): set loss, or give a model with a head" in told
    told = error_of(texts, model=made("bert"), inputs={"input_ids": "words", "attention_msk": "mask"})
    assert "has no argument 'attention_msk'; did you mean 'attention_mask'?" in told
    unpadded = hf.GPT2ForSequenceClassification(hf.GPT2Config(**{**GPT2, "pad_token_id": None}, num_labels=2))
    assert "no padding token is defined" in error_of(texts, model=unpadded, featuresCol="words")
    half = made("bert").to(torch.bfloat16)
    assert "call model.float() first" in error_of(texts, model=half, featuresCol="words")
    t5 = {"model": made("t5"), "inputs": {"input_ids": "words"}, "labelCol": "words"}
    assert "inputs names no column for its decoder_input_ids" in error_of(texts, StokerEstimator, **t5)
    questions = hf.BertForQuestionAnswering(hf.BertConfig(**SIZES))
    ends = {"start_positions": "label", "end_position": "label"}
    told = error_of(texts, StokerEstimator, model=questions, inputs={"input_ids": "words"}, labelCols=ends)
    assert "labelCols['end_position']: forward of the model has no argument 'end_position'; did you mean" in told


def test_an_encoder_inside_a_users_module_gives_no_cache():
    class Headed(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = hf.GPT2Model(hf.GPT2Config(**GPT2)), nn.Linear(16, CLASSES)

        def forward(self, input_ids):
            found = self.encoder(input_ids)
            return {"logits": self.head(found["last_hidden_state"].mean(1)), "all": found}

    torch.manual_seed(0)
    inputs, labels = [TensorSpec("input_ids", "int64", (LENGTH,))], [TensorSpec("label", "int64")]
    compiled = frontend.compile(Headed(), lambda o, y: nn.functional.cross_entropy(o["logits"], y), inputs, labels)
    assert list(compiled.output_shapes) == ["logits", "all.last_hidden_state"]


def label_without_rows(**params):
    """The label that an estimator is saved with before any fit."""
    prepared, _ = StokerEstimator(verbose=0, **params)._prepare(None)
    return next((one["dtype"], one["shape"]) for one in prepared.compiled.train["inputs"] if one["role"] == "label")


@pytest.mark.parametrize(("kind", "told", "label"), [
    ("bert", None, ("int64", [])),
    ("bert", {"label": "float32"}, ("float32", [CLASSES])),
    ("distilbert, words", None, ("int64", [LENGTH])),
])  # fmt: skip
def test_an_estimator_is_saved_with_the_label_that_fit_would_take(spark, kind, told, label):
    """Without rows it is not seen that a column holds whole numbers."""
    params = {"model": made(kind), "inputs": {"input_ids": "words"}, "inputShape": {"input_ids": [LENGTH]}}
    assert label_without_rows(**params, labelTypes=told) == label


def test_an_estimator_with_cross_entropy_is_saved_with_one_class_number_for_each_row(spark):
    assert label_without_rows(model=nn.Linear(4, CLASSES), loss=nn.CrossEntropyLoss()) == ("int64", [])


def test_an_estimator_whose_labels_only_rows_tell_is_not_saved_by_guess(spark):
    questions = hf.BertForQuestionAnswering(hf.BertConfig(**SIZES))
    params = {"model": questions, "inputs": {"input_ids": "words"}, "inputShape": {"input_ids": [LENGTH]},
              "labelCols": {"start_positions": "a", "end_positions": "b"}}  # fmt: skip
    with pytest.raises(UserError, match="rows alone tell what the loss of BertForQuestionAnswering takes") as caught:
        label_without_rows(**params)
    assert "set labelTypes={'start_positions': 'int64'} (or 'float32'); else fit it" in str(caught.value)
    types = {"start_positions": "int64", "end_positions": "int64"}
    assert label_without_rows(**params, labelTypes=types) == ("int64", [])


def test_inputs_that_are_looked_up_are_whole_numbers(texts):
    layout = hf.LayoutLMForSequenceClassification(hf.LayoutLMConfig(**SIZES, num_labels=2))
    assert [told_type(layout, name) for name in ("bbox", "input_ids", "inputs_embeds")] == ["int64", "int64", "float32"]
    inputs = {"input_ids": "words", "attention_mask": "mask"}
    told = error_of(texts, model=made("bert"), inputs=inputs, inputTypes={"input_ids": "float32"})
    assert "an input of whole numbers needs its dtype: set inputTypes, such as" in told
