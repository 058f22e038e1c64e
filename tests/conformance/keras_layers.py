"""Every class of keras.layers in a small model: loss, gradients, and weights after 3 and 20 steps against Keras itself
on its torch backend. `make conformance` writes docs/keras-layers.md from it."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import torch
from torch import nn

from conformance import keras_training
from conformance.keras_training import rounded
from stoker.frontend import torch as frontend
from stoker.frontend.additivity import denominator_of
from stoker.frontend.interpret import Interpreter
from stoker.program import TensorSpec

L = keras.layers
ROWS, RATE = 16, 0.05
STEPS = (3, 20)
TOLERANCE = {"loss": 1e-5, "gradient": 1e-5, "3 steps": 1e-4, "20 steps": 1e-3}
"""Relative: to the loss, the model's largest gradient, a tensor's norm (rounding of 20 steps is not damped)."""
NOISE = 1e-6  # of the largest gradient: what is zero in theory has only rounding, whose steps are not compared

FLAT, SERIES, IMAGE, VOLUME = (6,), (8, 4), (8, 8, 4), (6, 6, 6, 3)
BY_DIMS = {1: SERIES, 2: IMAGE, 3: VOLUME}
Builder = Callable[[], keras.Model]


@dataclass(frozen=True)
class Row:
    build: Builder
    random: bool = False  # draws: only compiled


def after_dense(shape: tuple, make: Callable[[], L.Layer]) -> Builder:
    """Gradients go through the layer to a layer before it."""

    def build():
        x = keras.Input(shape)
        return headed([x], make()(L.Dense(shape[-1], name="before")(x)))

    return build


def of_numbers(make: Callable[[], L.Layer], length: int = 6) -> Builder:
    def build():
        x = keras.Input((length,), dtype="int32")
        return headed([x], make()(x))

    return build


def of_several(count: int, shape: tuple, make: Callable[[], L.Layer]) -> Builder:
    def build():
        inputs = [keras.Input(shape, name=f"x{i}") for i in range(count)]
        return headed(inputs, make()([L.Dense(shape[-1])(x) for x in inputs]))

    return build


def of_itself(shape: tuple, make: Callable[[], L.Layer], **options) -> Builder:
    def build():
        x = keras.Input(shape)
        y = L.Dense(shape[-1])(x)
        return headed([x], make()(y, y, **options))

    return build


def headed(inputs: list, output) -> keras.Model:
    output = output[0] if isinstance(output, (list, tuple)) else output
    if output.dtype != "float32":
        output = L.Rescaling(1.0)(output)
    if len(output.shape) > 2:
        output = L.Flatten()(output)
    return keras.Model(inputs, L.Dense(3, name="head")(output))


def embedded(make: Callable[[], L.Layer]) -> Builder:
    """On an Embedding that masks."""

    def build():
        x = keras.Input((6,), dtype="int32")
        return headed([x], make()(L.Embedding(5, 4, mask_zero=True)(x)))

    return build


def attended():
    x = keras.Input((6,), dtype="int32")
    words = L.Embedding(5, 6, mask_zero=True)(x)
    return headed([x], L.MultiHeadAttention(2, 4)(words, words))


def _pooling() -> dict[str, Row]:
    found = {}
    for kind in ("Max", "Average"):
        for dims, shape in BY_DIMS.items():
            for name, options in (
                (f"{kind}Pooling", (2,)),
                (f"Global{kind}Pooling", ()),
                (f"Adaptive{kind}Pooling", (2,)),
            ):
                layer = getattr(L, f"{name}{dims}D", None)
                if layer is not None:
                    found[layer.__name__] = Row(after_dense(shape, lambda layer=layer, o=options: layer(*o)))
    return found


def _spatial() -> dict[str, Row]:
    return {f"{name}{dims}D": Row(after_dense(shape, lambda n=f"{name}{dims}D", o=option: getattr(L, n)(o)))
            for name, option in (("Cropping", 1), ("ZeroPadding", 1), ("UpSampling", 2))
            for dims, shape in BY_DIMS.items()}  # fmt: skip


def _merging() -> dict[str, Row]:
    names = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    return {name: Row(of_several(2, FLAT, getattr(L, name))) for name in names}


TABLE: dict[str, Row] = {
    "Dense": Row(after_dense(FLAT, lambda: L.Dense(5, "relu"))),
    "Dense with l2": Row(after_dense(FLAT, lambda: L.Dense(5, kernel_regularizer="l2", activity_regularizer="l1"))),
    "EinsumDense": Row(after_dense((5, 6), lambda: L.EinsumDense("abc,cd->abd", (5, 7), bias_axes="d"))),
    "Embedding": Row(of_numbers(lambda: L.Embedding(5, 4))),
    "Embedding with mask": Row(embedded(L.Identity)),
    "ReversibleEmbedding": Row(of_numbers(lambda: L.ReversibleEmbedding(5, 4))),
    "Masking": Row(after_dense((6, 4), L.Masking)),
    "Lambda": Row(after_dense(FLAT, lambda: L.Lambda(lambda x: x * 2))),
    "Identity": Row(after_dense(FLAT, L.Identity)),
    "Activation": Row(after_dense(FLAT, lambda: L.Activation("gelu"))),
    "ReLU": Row(after_dense(FLAT, lambda: L.ReLU(max_value=6, negative_slope=0.1))),
    "LeakyReLU": Row(after_dense(FLAT, L.LeakyReLU)),
    "PReLU": Row(after_dense(FLAT, L.PReLU)),
    "ELU": Row(after_dense(FLAT, L.ELU)),
    "Softmax": Row(after_dense(FLAT, L.Softmax)),
    "Conv1D": Row(after_dense(SERIES, lambda: L.Conv1D(5, 3, padding="same", activation="relu"))),
    "Conv1D causal": Row(after_dense(SERIES, lambda: L.Conv1D(5, 3, padding="causal", dilation_rate=2))),
    "Conv2D": Row(after_dense(IMAGE, lambda: L.Conv2D(5, 3, activation="relu"))),
    "Conv2D same, strides": Row(after_dense(IMAGE, lambda: L.Conv2D(5, 3, strides=2, padding="same"))),
    "Conv2D groups": Row(after_dense(IMAGE, lambda: L.Conv2D(4, 3, groups=2))),
    "Conv2D channels first": Row(after_dense((4, 6, 6), lambda: L.Conv2D(3, 3, data_format="channels_first"))),
    "Conv3D": Row(after_dense(VOLUME, lambda: L.Conv3D(4, 3))),
    "Conv1DTranspose": Row(after_dense(SERIES, lambda: L.Conv1DTranspose(5, 3, strides=2))),
    "Conv2DTranspose": Row(after_dense(IMAGE, lambda: L.Conv2DTranspose(5, 3, strides=2, padding="same"))),
    "Conv3DTranspose": Row(after_dense(VOLUME, lambda: L.Conv3DTranspose(4, 3, strides=2))),
    "DepthwiseConv1D": Row(after_dense(SERIES, lambda: L.DepthwiseConv1D(3, depth_multiplier=2))),
    "DepthwiseConv2D": Row(after_dense(IMAGE, lambda: L.DepthwiseConv2D(3, padding="same"))),
    "SeparableConv1D": Row(after_dense(SERIES, lambda: L.SeparableConv1D(5, 3))),
    "SeparableConv2D": Row(after_dense(IMAGE, lambda: L.SeparableConv2D(5, 3))),
    **_pooling(),
    "MaxPooling2D same": Row(after_dense((7, 7, 4), lambda: L.MaxPooling2D(padding="same"))),
    "AveragePooling2D same": Row(after_dense((7, 7, 4), lambda: L.AveragePooling2D(3, 2, padding="same"))),
    "SimpleRNN": Row(after_dense((7, 4), lambda: L.SimpleRNN(5))),
    "LSTM": Row(after_dense((7, 4), lambda: L.LSTM(5))),
    "LSTM sequences": Row(after_dense((7, 4), lambda: L.LSTM(5, return_sequences=True))),
    "LSTM backwards": Row(after_dense((7, 4), lambda: L.LSTM(5, go_backwards=True))),
    "LSTM unrolled": Row(after_dense((7, 4), lambda: L.LSTM(5, unroll=True))),
    "LSTM masked": Row(embedded(lambda: L.LSTM(5))),
    "LSTM masked sequences": Row(embedded(lambda: L.LSTM(5, return_sequences=True))),
    "LSTM dropout": Row(after_dense((7, 4), lambda: L.LSTM(5, dropout=0.2, recurrent_dropout=0.2)), random=True),
    "GRU": Row(after_dense((7, 4), lambda: L.GRU(5))),
    "GRU reset before": Row(after_dense((7, 4), lambda: L.GRU(5, reset_after=False))),
    "GRU masked": Row(embedded(lambda: L.GRU(5))),
    "RNN": Row(after_dense((7, 4), lambda: L.RNN(L.LSTMCell(5)))),
    "StackedRNNCells": Row(after_dense((7, 4), lambda: L.RNN(L.StackedRNNCells([L.GRUCell(5), L.SimpleRNNCell(4)])))),
    "Bidirectional": Row(after_dense((7, 4), lambda: L.Bidirectional(L.LSTM(5)))),
    "Bidirectional sequences": Row(after_dense((7, 4), lambda: L.Bidirectional(L.GRU(5, return_sequences=True)))),
    "Bidirectional masked": Row(embedded(lambda: L.Bidirectional(L.LSTM(5, return_sequences=True)))),
    "TimeDistributed": Row(after_dense((7, 4), lambda: L.TimeDistributed(L.Dense(3)))),
    "ConvLSTM1D": Row(after_dense((4, 8, 3), lambda: L.ConvLSTM1D(3, 3))),
    "ConvLSTM2D": Row(after_dense((4, 6, 6, 3), lambda: L.ConvLSTM2D(3, 3))),
    "ConvLSTM3D": Row(after_dense((3, 5, 5, 5, 2), lambda: L.ConvLSTM3D(2, 3))),
    "BatchNormalization": Row(after_dense(FLAT, L.BatchNormalization)),
    "BatchNormalization of images": Row(after_dense(IMAGE, lambda: L.BatchNormalization(momentum=0.9))),
    "LayerNormalization": Row(after_dense((5, 6), L.LayerNormalization)),
    "GroupNormalization": Row(after_dense(IMAGE, lambda: L.GroupNormalization(2))),
    "RMSNormalization": Row(after_dense((5, 6), L.RMSNormalization)),
    "UnitNormalization": Row(after_dense(FLAT, L.UnitNormalization)),
    "SpectralNormalization": Row(after_dense(FLAT, lambda: L.SpectralNormalization(L.Dense(4)))),
    "Normalization": Row(after_dense(FLAT, lambda: L.Normalization(mean=1.0, variance=2.0))),
    "Dropout": Row(after_dense(FLAT, lambda: L.Dropout(0.5, seed=3)), random=True),
    "SpatialDropout1D": Row(after_dense(SERIES, lambda: L.SpatialDropout1D(0.5)), random=True),
    "SpatialDropout2D": Row(after_dense(IMAGE, lambda: L.SpatialDropout2D(0.5)), random=True),
    "SpatialDropout3D": Row(after_dense(VOLUME, lambda: L.SpatialDropout3D(0.5)), random=True),
    "GaussianNoise": Row(after_dense(FLAT, lambda: L.GaussianNoise(0.1)), random=True),
    "GaussianDropout": Row(after_dense(FLAT, lambda: L.GaussianDropout(0.3)), random=True),
    "AlphaDropout": Row(after_dense(FLAT, lambda: L.AlphaDropout(0.3)), random=True),
    "ActivityRegularization": Row(after_dense(FLAT, lambda: L.ActivityRegularization(l2=0.1))),
    "Flatten": Row(after_dense(SERIES, L.Flatten)),
    "Reshape": Row(after_dense(SERIES, lambda: L.Reshape((4, 8)))),
    "Permute": Row(after_dense(SERIES, lambda: L.Permute((2, 1)))),
    "RepeatVector": Row(after_dense(FLAT, lambda: L.RepeatVector(3))),
    **_spatial(),
    "UpSampling2D bilinear": Row(after_dense(IMAGE, lambda: L.UpSampling2D(2, interpolation="bilinear"))),
    "MultiHeadAttention": Row(of_itself((5, 6), lambda: L.MultiHeadAttention(2, 4))),
    "MultiHeadAttention causal": Row(of_itself((5, 6), lambda: L.MultiHeadAttention(2, 4), use_causal_mask=True)),
    "MultiHeadAttention masked": Row(attended),
    "GroupedQueryAttention": Row(of_itself((5, 6), lambda: L.GroupQueryAttention(4, 4, 2))),
    "Attention": Row(of_several(2, (5, 6), L.Attention)),
    "AdditiveAttention": Row(of_several(2, (5, 6), L.AdditiveAttention)),
    **_merging(),
    "Dot": Row(of_several(2, FLAT, lambda: L.Dot(1))),
    "Rescaling": Row(after_dense(IMAGE, lambda: L.Rescaling(0.1))),
    "Resizing": Row(after_dense(IMAGE, lambda: L.Resizing(5, 5))),
    "CenterCrop": Row(after_dense(IMAGE, lambda: L.CenterCrop(5, 5))),
    "CategoryEncoding": Row(of_numbers(lambda: L.CategoryEncoding(5, output_mode="multi_hot"), 3)),
}  # fmt: skip

_AUGMENTS = "augments images by values or counts of rows: declare Image(...), which crops and flips (inputs.md)"
_TENSORFLOW = "needs TensorFlow when it is called"
_OTHERS = "wraps another framework's"
_BASE = "a base class, a cell or a part of others in the table"
APART = {
    **dict.fromkeys((name for name in dir(L) if name.startswith("Random")), _AUGMENTS),
    **dict.fromkeys(("AugMix", "AutoContrast", "CutMix", "Equalization", "MixUp", "RandAugment", "Solarization",
                     "Pipeline", "MaxNumBoundingBoxes", "ContrastLimitedAdaptiveHistogramEqualization"), _AUGMENTS),
    **dict.fromkeys(("Hashing", "HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization"), _TENSORFLOW),
    **dict.fromkeys(("FlaxLayer", "JaxLayer", "TFSMLayer", "TorchModuleWrapper"), _OTHERS),
    **dict.fromkeys(("Layer", "Wrapper", "InputLayer", "LSTMCell", "GRUCell", "SimpleRNNCell"), _BASE),
    "Discretization": "cuts numbers into bins, so no gradient comes through: an input's preparation",
    "MelSpectrogram": "a preparation of sounds: by pandas or Spark before the fit",
    "STFTSpectrogram": "a preparation of sounds: by pandas or Spark before the fit",
}  # fmt: skip


def classes() -> set[str]:
    """What keras.layers exports, each class once."""
    found = [value for value in vars(L).values() if isinstance(value, type) and issubclass(value, L.Layer)]
    return {kind.__name__ for kind in found}


def unlisted() -> set[str]:
    return classes() - {name.partition(" ")[0] for name in TABLE} - set(APART)


def rows_of(model: keras.Model) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 5, (ROWS, *x.shape[1:]), generator=generator, dtype=torch.int32) if x.dtype == "int32"
            else torch.randn((ROWS, *x.shape[1:]), generator=generator) for x in model.inputs]  # fmt: skip


@dataclass
class Result:
    reason: str = ""  # why it does not hold
    worst: dict[str, float] | None = None  # None: only compiled
    nodes: int = 0


def result_of(name: str, steps: int = STEPS[-1]) -> Result:
    row = TABLE[name]
    keras.utils.set_random_seed(1)
    model = row.build()
    rows, label = rows_of(model), torch.arange(ROWS) % 3
    specs = [
        TensorSpec(x.name, str(r.dtype).removeprefix("torch."), tuple(r.shape[1:])) for x, r in zip(model.inputs, rows)
    ]
    try:
        compiled = frontend.compile(model, nn.CrossEntropyLoss(), specs, [TensorSpec("label", "int64", ())])
    except Exception as error:  # whatever stands in the way of it
        return Result((str(error).strip() or type(error).__name__).splitlines()[0])
    nodes = len(compiled.train["nodes"])
    if row.random:
        return Result(nodes=nodes)
    worst = compared(model, compiled, rows, label, steps)
    wrong = [f"{what} differs by {value:.1e}" for what, value in worst.items() if not value <= TOLERANCE[what]]
    return Result("; ".join(wrong), worst, nodes)


def compared(model, compiled, rows, label, steps: int) -> dict[str, float]:
    program, run = compiled.train, Interpreter(compiled.train).run
    weights = {name: torch.tensor(values) for name, values in compiled.given().items()}
    variables = {variable.path: variable for variable in model.variables}
    worst, noise = dict.fromkeys(("loss", "gradient"), 0.0), set()
    for step in range(1, steps + 1):
        loss, gradients = _of_keras(model, rows, label)
        ours, found = _of_program(program, run, weights, rows, label)
        largest = max(float(gradient.abs().max()) for gradient in gradients.values())
        if step <= STEPS[0]:
            worst["loss"] = max(worst["loss"], abs(ours - loss) / abs(loss))
            apart = max(float((found[name] - gradients[name]).abs().max()) for name in found)
            worst["gradient"] = max(worst["gradient"], apart / largest)
        noise |= {name for name, gradient in gradients.items() if float(gradient.abs().max()) < NOISE * largest}
        for name in found:
            weights[name] = weights[name].detach() - RATE * found[name]
            with torch.no_grad():
                variables[name].value.sub_(RATE * gradients[name])
        if step in STEPS:
            worst[f"{step} steps"] = max(_away(weights[name], variables[name]) for name in found if name not in noise)
    return worst


def _away(ours: torch.Tensor, variable) -> float:
    theirs = variable.value.detach()
    return float((ours.detach() - theirs).norm() / theirs.norm().clamp_min(1e-3))


def _of_keras(model, rows, label):
    output = model(rows if len(rows) > 1 else rows[0], training=True)
    loss = nn.functional.cross_entropy(output, label) + sum(model.losses)
    named = {variable.path: variable.value for variable in model.trainable_variables}
    gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True, materialize_grads=True)
    return loss.item(), dict(zip(named, gradients))


def _stored(tensor, entry):
    layout = entry.get("layout", range(tensor.dim()))
    return tensor.permute([list(layout).index(dim) for dim in range(tensor.dim())])


def _of_program(program, run, weights, rows, label):
    entries = [*program["parameters"], *program["buffers"], *program["constants"]]
    trained = [_stored(weights[entry["name"]].detach(), entry).requires_grad_() for entry in program["parameters"]]
    values = {entry["slot"]: weights[entry["name"]] for entry in entries}
    values |= {entry["slot"]: value for entry, value in zip(program["parameters"], trained)}
    values |= {entry["slot"]: row for entry, row in zip(program["inputs"], [*rows, label])}
    slots = run(values)
    numerator = slots[program["loss"]["numerator"]]
    gradients = torch.autograd.grad(numerator, trained, allow_unused=True, materialize_grads=True)
    divisor = denominator_of(program, slots, ROWS)
    named = zip(program["parameters"], gradients)
    found = {entry["name"]: gradient.permute(entry.get("layout", list(range(gradient.dim())))) / divisor
             for entry, gradient in named}  # fmt: skip
    return numerator.item() / divisor, found


def page(results: dict[str, Result], trained: list[str]) -> str:
    """`trained`: lines about optimizers and losses."""
    held = sum(not result.reason for result in results.values())
    lines = [
        "# Keras layers, optimizers, losses: what holds",
        "",
        f"Written by `make conformance` (Keras {keras.__version__} on torch). Each layer sits in a small model between "
        f"two others, whose program is run beside Keras itself on {ROWS} rows: **{held} of {len(results)}** "
        "configurations hold.",
        "The loss and gradients of 3 steps are within 1e-5 (gradients: of the model's largest), weights after 3 steps "
        "within 1e-4 and after 20 within 1e-3 of a tensor's norm; tensors whose gradient is zero in theory are left "
        "out. Layers that draw are compiled: their numbers come by Stoker's keys.",
        "",
        "| layer | loss | gradient | 3 steps | 20 steps | operators | |",
        "|---|---|---|---|---|---|---|",
        *(_line(name, result) for name, result in sorted(results.items())),
        "",
        "Apart, as they do not train or are no part of a trained model:",
        "",
        "| class | why |",
        "|---|---|",
        *(f"| {name} | {reason} |" for name, reason in sorted(APART.items()) if name in classes()),
        *trained,
    ]
    return "\n".join(lines) + "\n"


def _line(name: str, result: Result) -> str:
    if result.worst is None:
        return f"| {name} | | | | | {result.nodes or ''} | {result.reason or 'compiles, draws'} |"
    told = " | ".join(rounded(result.worst.get(what)) for what in TOLERANCE)
    return f"| {name} | {told} | {result.nodes} | {result.reason} |"


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    results = {}
    for name in TABLE:
        results[name] = result_of(name)
        if results[name].reason:
            print(f"{name}: {results[name].reason}", file=sys.stderr)
    held = sum(not result.reason for result in results.values())
    print(f"keras.layers that hold: {held} of {len(results)}")
    trained, differ = keras_training.lines()
    Path(__file__).parents[2].joinpath("docs", "keras-layers.md").write_text(page(results, trained))
    sys.exit(held < 0.97 * len(results) or bool(unlisted()) or differ > 0)


if __name__ == "__main__":
    main()
