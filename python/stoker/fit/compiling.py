"""From the user's module and loss to a program. The only file here that uses torch, and only on the driver."""

from __future__ import annotations

import inspect
import math
import os
import sys
import warnings
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice, product
from typing import Any

from stoker.errors import UserError
from stoker.evaluation import with_groups
from stoker.fit.layout import spec_of, typed
from stoker.program import Compiled
from stoker.spark.columns import Source

_OTHER = {"int64": "float32", "float32": "int64"}
_MOST_TRIED = 16  # ways to give dtypes to labels


@dataclass(frozen=True)
class Prepared:
    """A program and what its numbers mean."""

    compiled: Compiled
    output_kind: str | None = None  # of a classifier
    label_rules: dict[str, Any] = field(default_factory=dict)  # what the engine checks of labels

    def output_sizes(self) -> dict[str, int]:
        """Values of one row by output name."""
        return {name: math.prod(shape) for name, shape in self.compiled.output_shapes.items()}

    def sources(self, known: Sequence[Source]) -> list[Source]:
        """The sources in the order of the training program's inputs, with the labels' rules."""
        by_name = {(source.role, source.name): source for source in known}
        ordered = [by_name[entry["role"], entry["name"]] for entry in self.compiled.train["inputs"]]
        return [replace(source, rules={**source.rules, **self.label_rules}) if source.role == "label" else source
                for source in ordered]  # fmt: skip


def grouped(prepared: Prepared) -> Prepared:
    """Its programs with the group of each row. REQUIRES: there is an evaluation program."""
    compiled = prepared.compiled
    evaluation = with_groups(compiled.evaluation or {})
    return replace(prepared, compiled=replace(compiled, train=with_groups(compiled.train), evaluation=evaluation))


class Probe:
    """The model's outputs for a row of zeros and one of the largest numbers that are declared, found out when first
    asked; the module stays as it is."""

    def __init__(self, module: Any, inputs: Sequence[Source]) -> None:
        self._module, self._inputs = module, inputs

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        from stoker.frontend import structure

        return [tuple(tensor.shape[1:]) for _, tensor in structure.leaves(self._outputs)]

    @cached_property
    def _outputs(self) -> Any:
        import torch

        from stoker.frontend import structure
        from stoker.frontend.copies import to_run

        module = to_run(self._module)[0].eval()
        rows = {s.name: _zeros(s) for s in self._inputs}
        for source in self._inputs:
            if source.tops:
                rows[source.name][1] = torch.tensor(source.tops).reshape(source.shape)
        try:
            with torch.random.fork_rng(devices=[]):
                return structure.call(module, rows)
        except UserError:
            raise
        except Exception as error:
            shapes = ", ".join(f"{s.shown}: {list(s.shape)}" for s in self._inputs)
            raise UserError(f"the model does not run on rows of shape {shapes}: {error}{_hint(str(error))}") from error

    def size_of_output(self, label: Source) -> int | None:
        """Values of one row of the only output; None if there are several."""
        return math.prod(self.shapes[0]) if len(self.shapes) == 1 else None

    def size_for(self, loss: Any) -> Callable[[Source], int | None]:
        """How many values of a label this loss compares with a row of the output; None for one, or if it is not known.
        Class numbers are one for all classes."""
        from stoker.frontend.foreign import ForeignLoss
        from stoker.frontend.losses import as_module

        told = as_module(loss)
        of_tokens, classes_last = getattr(told, "of_tokens", False), isinstance(told, ForeignLoss)

        def size(label: Source) -> int | None:
            if not of_tokens and not (wants_classes(told) and label.dtype == "int64"):
                return self.size_of_output(label)
            shapes = self.shapes[:1] if of_tokens or len(self.shapes) == 1 else [()]
            places = math.prod(shapes[0][:-1] if classes_last else shapes[0][1:])
            return places if places != 1 else None

        return size

    def typed_for(self, loss: Any, labels: list[Source], told: Container[str]) -> list[Source]:
        """The labels in dtypes that a user's loss takes: as they are, or where none is told float32 for int64 and the
        reverse."""
        usual = [label.dtype for label in labels]
        choices = [(s.dtype,) if s.name in told else (s.dtype, _OTHER[s.dtype]) for s in labels]
        tried = islice(product(*choices), _MOST_TRIED)
        fitting = (dtypes for dtypes in tried if self._takes(loss, labels, dtypes))
        return [typed(label, dtype) for label, dtype in zip(labels, next(fitting, usual))]

    def _takes(self, loss: Any, labels: Sequence[Source], dtypes: Sequence[str]) -> bool:
        """Whether the loss can be computed, and its gradient of the outputs."""
        import torch

        from stoker.frontend import structure
        from stoker.frontend.copies import copied
        from stoker.frontend.labels import as_given

        own_loss = copied(loss)[0] if isinstance(loss, torch.nn.Module) else loss
        rows = {label.name: _zeros(label, dtype) for label, dtype in zip(labels, dtypes)}
        outputs = [tensor for _, tensor in structure.leaves(self._outputs) if tensor.requires_grad]
        try:
            with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                value = own_loss(self._outputs, as_given(rows)).sum()
                torch.autograd.grad(value, outputs, retain_graph=True, allow_unused=True)
        except Exception:  # whatever the user's loss raises: it does not take these
            return False
        return True


def _hint(error: str) -> str:
    if "out of range" in error:
        return "; stoker.inputs.sizes tells how many rows an Embedding needs"
    if "scalar type" in error and "Long" in error:
        return "; an input of whole numbers needs its dtype: set inputTypes, such as {'words': 'int64'}"
    return ""


def _zeros(source: Source, dtype: str | None = None) -> Any:
    import torch

    return torch.zeros((2, *source.shape), dtype=getattr(torch, dtype or source.dtype))


@dataclass(frozen=True)
class Measured:
    """What metrics compare with the labels."""

    kind: str  # of the program's metric
    outputs: str  # "logits", "probabilities", "logProbabilities" of classes, or "values"
    width: int  # of the output, for one label
    labels: int = 1  # of a row


def measured_by(loss: Any, shapes: Sequence[tuple[int, ...]], labels: Sequence[Source]) -> Measured | None:
    """Of a model of any loss; None where it is not known what its labels are to its outputs."""
    from torch import nn

    from stoker.frontend.losses import as_module

    if len(shapes) != 1 or len(labels) != 1:
        return None
    (shape,), (label,) = shapes, labels
    if wants_classes(loss) and label.dtype == "int64" and shape:
        usual = "logProbabilities" if isinstance(as_module(loss), nn.NLLLoss) else "logits"
        kind = getattr(as_module(loss), "output_kind", None) or usual
        return Measured("argmax", kind, shape[0], math.prod(label.shape))
    if math.prod(shape) == math.prod(label.shape):
        return Measured("values", "values", math.prod(shape))
    return None


def compile_model(module: Any, loss: Any, inputs: Sequence[Source], labels: Sequence[Source], *, weighted: bool,
                  reduction: str | None, metric: str | None, evaluated: bool = False,
                  measured: Measured | None = None,
                  own: Mapping[str, Callable[..., Any]] | None = None,
                  freeze: Sequence[str] | Mapping[str, str] = (),
                  mix: dict[str, Any] | None = None, precision: str = "fp32",
                  class_weight: Sequence[float] | None = None) -> Compiled:  # fmt: skip
    """`evaluated`: there is an evaluation program, which measures what `measured` says, and `own` metrics; `mix`: how
    rows are mixed in training; `precision`: what products are computed in."""
    from stoker.frontend import torch as frontend

    kind = measured.kind if measured else None
    compiled = frontend.compile(module, loss, [spec_of(s) for s in inputs], [spec_of(s) for s in labels],
                                weighted=weighted, loss_reduction=reduction, metric=metric,
                                evaluated=evaluated, measured=kind, own=own, freeze=freeze, mix=mix,
                                class_weight=class_weight, precision=precision)  # fmt: skip
    if compiled.evaluation is not None and measured is not None:
        told = {"outputs": measured.outputs, "width": measured.width, "labels": measured.labels}
        compiled = replace(compiled, evaluation={**compiled.evaluation, "measured": told})
    return compiled


def as_torch(model: Any) -> Any:
    from stoker.frontend import bridges

    return bridges.as_torch(model)


def is_model(model: Any) -> bool:
    """Whether it is one, and no function that builds one."""
    from torch import nn

    from stoker.frontend import foreign

    return isinstance(model, nn.Module) or foreign.is_foreign(model)


_KERAS_FILES = (".keras", ".h5", ".hdf5")


def is_keras_file(model: Any) -> bool:
    return isinstance(model, (str, os.PathLike)) and str(model).endswith(_KERAS_FILES)


def is_model_file(model: Any) -> bool:
    return is_keras_file(model) or (isinstance(model, (str, os.PathLike)) and str(model).endswith(".onnx"))


def loaded(path: Any) -> Any:
    """The model of a file."""
    if str(path).endswith(".onnx"):
        from stoker.frontend.onnx.build import module_of

        return module_of(path)
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        from stoker.frontend.keras import files
    except ImportError as error:
        raise UserError(f"model: {str(path)!r} is a Keras model, and there is no Keras ({error}): "
                        "pip install 'stoker[keras]'") from error  # fmt: skip
    return files.load(str(path))


def is_keras_optimizer(optimizer: Any) -> bool:
    from stoker.frontend import foreign

    return foreign.is_keras_optimizer(optimizer)


def schedule_of(value: Any) -> Any:
    """A schedule of Keras as stoker.schedule has it; everything else as it is."""
    from stoker.frontend import foreign

    if not foreign.is_of(value, "keras"):
        return value
    from stoker.frontend.keras import schedules

    rate, told = schedules.read(value, "lrSchedule")
    return {**told, "first_lr": float(rate)}


def of_keras(optimizer: Any, module: Any, rate: float | None, more: Any, clips: bool) -> dict[str, Any]:
    """What stoker.optimizer tells of others, of a Keras optimizer."""
    from stoker.frontend.keras import optimizers

    if more:
        raise UserError("optimizerParams: the optimizer is a Keras optimizer, which has its settings already: set "
                        "optimizer too, by a name")  # fmt: skip
    if not hasattr(module, "trained") and optimizers.excludes(optimizer):
        raise UserError("the Keras optimizer has exclude_from_weight_decay, which is of a Keras model's variables: "
                        "give model too, or an optimizer without it")  # fmt: skip
    return optimizers.read(optimizer, getattr(module, "trained", list)(), rate, clips)


def built(build: Callable[[], Any], seed: int) -> Any:
    """The module that a user's function builds, with initial weights by the seed."""
    import torch

    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise UserError(f"model is a function that builds the module, so it is called without arguments; it has "
                        f"{error}") from None  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def check_module(module: Any, inputs: Sequence[str]) -> None:
    """Its parameters can be trained; every input is an argument of forward, and nothing that forward needs is without
    one. The name of a lone one may be any where there is nothing to confuse it with."""
    from stoker.frontend.torch import check_parameters

    check_parameters(module)
    check_inputs(module, inputs)


def check_inputs(module: Any, inputs: Sequence[str]) -> None:
    """What check_module() says of them."""
    from stoker.frontend import foreign, hugging
    from stoker.frontend.arguments import Arguments

    if foreign.is_hugging(module):
        hugging.check_inputs(module, inputs)
    arguments = Arguments(module)
    if list(inputs) != ["features"] and len(arguments.names) > 1:
        arguments.check_known(inputs)
    arguments.fed(inputs)


def is_known(loss: Any) -> bool:
    """Whether it is one of torch's or Keras', of which it is known what labels they take."""
    from stoker.frontend.foreign import ForeignLoss
    from stoker.frontend.losses import as_module, form_of

    told = as_module(loss)
    return form_of(told) is not None or (isinstance(told, ForeignLoss) and told.of_one_output)


def own_loss(module: Any) -> Any:
    """That of a model of Hugging Face transformers; None of another model."""
    from stoker.frontend import foreign, hugging

    return hugging.own_loss(module) if foreign.is_hugging(module) else None


def check_label_is_known(loss: Any, labels: Sequence[str], types: Container[str]) -> None:
    """Without rows: what the labels are, by the loss or by what is told of their dtypes (then each is one number)."""
    from stoker.frontend.hugging import OwnLoss

    if not isinstance(loss, OwnLoss) or loss.is_known(labels):
        return
    for name in labels:
        if name not in types:
            raise UserError(f"labelCols['{name}']: rows alone tell what {loss.name} takes, and an estimator is saved "
                            f"without any: where it is one number a row, set labelTypes={{{name!r}: 'int64'}} (or "
                            "'float32'); else fit it, and save the model")  # fmt: skip


def output_kind_of(module: Any, loss: Any, told: str) -> str:
    if told != "auto":
        return told
    from stoker.frontend.torch import default_output_kind

    return {"log_probabilities": "logProbabilities"}.get(kind := default_output_kind(module, loss), kind)


def default_class_loss(kind: str, size: int) -> tuple[Any, str | None]:
    """(loss, reduction) for a classifier whose user gave none."""
    from torch import nn

    if size == 1:
        if kind == "logProbabilities":
            raise UserError("a model with one output that is a log-probability needs a loss of your own: set loss")
        return (nn.BCEWithLogitsLoss() if kind == "logits" else nn.BCELoss()), None
    if kind == "probabilities":
        return nll_of_probabilities, "none"
    return (nn.CrossEntropyLoss() if kind == "logits" else nn.NLLLoss()), None


def nll_of_probabilities(outputs: Any, labels: Any) -> Any:
    """Cross entropy for models that end in a softmax; one value a row."""
    import torch

    return torch.nn.functional.nll_loss(outputs.clamp_min(1e-12).log(), labels.to(torch.int64), reduction="none")


def class_metric(kind: str, size: int) -> str:
    if size > 1:
        return "argmax"
    return "sign" if kind == "logits" else "half"


def class_rules(loss: Any, classes: int) -> dict[str, Any]:
    """Labels lie in [0, classes), or are what the user's loss ignores."""
    from stoker.frontend.losses import as_module

    rules: dict[str, Any] = {"classes": classes}
    loss = as_module(loss)
    if getattr(loss, "ignore_index", None) is not None:
        rules.update(has_ignored=True, ignored=int(loss.ignore_index))
    return rules


def wants_classes(loss: Any) -> bool:
    """Whether a loss takes class numbers as labels."""
    from torch import nn

    from stoker.frontend.losses import as_module

    told = as_module(loss)
    return isinstance(told, (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)) or getattr(told, "classes", False)


def check_class_shape(shapes: Sequence[tuple[int, ...]]) -> int:
    """Outputs of one row of a classifier: 1 or the number of classes."""
    if len(shapes) != 1:
        raise UserError(f"StokerClassifier takes a model with one output, not {len(shapes)}: use StokerEstimator")
    if len(shapes[0]) > 1:
        raise UserError(f"StokerClassifier takes a model with outputs of shape [rows, classes]; this one gives "
                        f"[rows, {', '.join(map(str, shapes[0]))}]. Use StokerEstimator")  # fmt: skip
    return math.prod(shapes[0])
