"""A Keras model as an nn.Module: `stateless_call` over parameters and buffers that have the names of Keras' paths."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Container, Iterator, Sequence

import keras
import torch
from torch import nn

from stoker.errors import CompileError
from stoker.frontend.foreign import Foreign
from stoker.frontend.freezing import covers
from stoker.frontend.keras import exchange
from stoker.frontend.keras.inputs import inputs_of

_KINDS = {"softmax": "probabilities", "sigmoid": "probabilities", "log_softmax": "log_probabilities",
          "log_sigmoid": "log_probabilities"}  # fmt: skip


class KerasModel(Foreign):
    """The Keras model itself is never written; copies share it and have tensors of their own."""

    def __init__(self, model: keras.Layer):
        super().__init__()
        _refuse_unbuilt(model)
        _refuse_constraints(model)
        self._share(model)
        for name, variable in self._trainable:
            self.register_parameter(name, self._value_of(variable))
        for name, variable in self._others:
            if name in self._kept:
                self.register_buffer(name, self._value_of(variable).detach())

    def _value_of(self, variable: keras.Variable) -> torch.Tensor:
        return variable.value

    def _share(self, model: keras.Layer) -> None:
        self._models = (model,)  # in a tuple: nn.Module would register its layers
        named = self._names = dict(zip(map(id, _variables(model)), names_of(model), strict=True))
        self._still: list[keras.Layer] = []
        self._trainable = [(named[id(v)], v) for v in model.trainable_variables]
        self._others = [(named[id(v)], v) for v in model.non_trainable_variables]
        seeds = _seeds(model)
        self._kept = {name for name, variable in self._others if id(variable) not in seeds}
        self._inputs = inputs_of(model)
        self._added = _Added()

    def __deepcopy__(self, memo: dict) -> KerasModel:
        made = memo[id(self)] = type(self).__new__(type(self))
        nn.Module.__init__(made)
        made._share(self._models[0])
        made._still = list(self._still)
        made.training = self.training
        for name, parameter in self._parameters.items():
            made.register_parameter(name, copy.deepcopy(parameter, memo))
        for name, buffer in self._buffers.items():
            made.register_buffer(name, copy.deepcopy(buffer, memo))
        return made

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor):
        model = self._models[0]
        args, kwargs = self._inputs.given(self._named(tensors, named))
        if model._call_has_training_arg:
            kwargs["training"] = self.training
        trained, others = self._tensors(model.trainable_variables), self._tensors(model.non_trainable_variables)
        with keras.device("cpu"):
            outputs, after, losses = model.stateless_call(trained, others, *args, return_losses=True, **kwargs)
        self._keep(model.non_trainable_variables, others, after)
        self._added.losses = losses
        return outputs

    def _named(self, tensors: Sequence[torch.Tensor], named: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return dict(zip([parameter.name for parameter in self._inputs.parameters], tensors)) | named

    def _tensors(self, variables: list) -> list[torch.Tensor]:
        """This module's own; of seeds, which nobody reads, Keras'."""
        own = {**self._parameters, **self._buffers}
        return [own.get(self._names[id(variable)], variable.value) for variable in variables]

    def _keep(self, variables: list, before: list, after: list) -> None:
        statistics = self.statistics()
        for variable, old, new in zip(variables, before, after, strict=True):
            name = self._names[id(variable)]
            if new is old or name not in self._buffers:
                continue
            if name not in statistics:
                raise CompileError(
                    f"the Keras model changes its variable {name!r} when it is called: only the statistics of "
                    "BatchNormalization can be kept exact over several workers"
                )
            old.copy_(new)

    def trained(self) -> list[tuple[str, keras.Variable]]:
        return self._trainable

    def added_loss(self):
        return sum(self._added.losses) if self._added.losses else None

    def arguments(self) -> list[inspect.Parameter]:
        return self._inputs.parameters

    def told_type(self, name: str) -> str | None:
        return self._of_input(self._inputs.types, name)

    def told_shape(self, name: str) -> tuple[int, ...] | None:
        return self._of_input(self._inputs.shapes, name)

    def _of_input(self, told: dict, name: str):
        """A lone input may go by any name."""
        names = [parameter.name for parameter in self._inputs.parameters]
        return told.get(names[0] if len(names) == 1 else name)

    def output_kind(self) -> str:
        last = _last_layer(self._models[0])
        if isinstance(last, keras.layers.Softmax):
            return "probabilities"
        return _KINDS.get(getattr(getattr(last, "activation", None), "__name__", ""), "logits")

    def freeze(self, names: Container[str], patterns: Sequence[str]) -> None:
        def is_still(layer):
            own = [self._names[id(variable)] for variable in layer._trainable_variables]
            return all(name in names for name in own) if own else covers(patterns, layer.path or layer.name)

        layers = self._models[0]._flatten_layers()
        self._still = [layer for layer in layers
                       if isinstance(layer, keras.layers.BatchNormalization) and is_still(layer)]  # fmt: skip

    def channels_last(self) -> bool:
        layers = self._models[0]._flatten_layers()
        return all(getattr(layer, "data_format", None) != "channels_first" for layer in layers)

    def named_layers(self) -> dict[str, keras.Layer]:
        layers = self._models[0]._flatten_layers(include_self=False)
        return {layer.path or layer.name: layer for layer in layers}

    def parts(self) -> dict[int, tuple[str, str]]:
        layers = self._models[0]._flatten_layers()
        return {id(layer): (layer.path or layer.name, type(layer).__name__) for layer in layers}

    def statistics(self) -> dict[str, str]:
        named = {id(variable): name for name, variable in self._others}
        norms = [part for part in self._models[0]._flatten_layers()
                 if isinstance(part, keras.layers.BatchNormalization)]  # fmt: skip
        return {named[id(variable)]: f"{norm.path} ({type(norm).__name__})"
                for norm in norms for variable in norm.non_trainable_variables if id(variable) in named}  # fmt: skip

    def notes(self) -> list[str]:
        return [*self._of_version(), *self._of_training()]

    def _of_version(self) -> list[str]:
        if not (left := exchange.left()):
            return []
        return [f"Keras {keras.__version__} has {', '.join(left)} otherwise than Stoker knows: layers that use it are "
                "compiled as they are, which is slower"]  # fmt: skip

    def _of_training(self) -> list[str]:
        model = self._models[0]
        inner = [layer for layer in model._flatten_layers(include_self=False)
                 if layer._seed_generators or isinstance(layer, keras.layers.BatchNormalization)]  # fmt: skip
        if model._call_has_training_arg or not inner:
            return []
        first = f"{inner[0].path or inner[0].name} ({type(inner[0]).__name__})"
        return [f"call of the Keras model {model.name!r} takes no training=, so, as in Keras' own fit, its layers run "
                f"as in evaluation unless it tells them: {first}"]  # fmt: skip

    @contextlib.contextmanager
    def tracing(self):
        with exchange.exchanged(), _untrained(self._still):
            yield


@contextlib.contextmanager
def _untrained(layers: list[keras.Layer]) -> Iterator[None]:
    """A batch norm that is not trained runs as in evaluation."""
    was = [layer for layer in layers if layer.trainable]
    for layer in was:
        layer.trainable = False
    try:
        yield
    finally:
        for layer in was:
            layer.trainable = True


class _Added:
    """Holds what forward leaves for the loss."""

    losses: list = ()


def names_of(model: keras.Layer) -> list[str]:
    """A name for each variable: its path; of several with one path the later ones are numbered."""
    seen: dict[str, int] = {}
    names = []
    for variable in _variables(model):
        path = variable.path.replace(".", "_")
        seen[path] = seen.get(path, 0) + 1
        names.append(path if seen[path] == 1 else f"{path}~{seen[path]}")
    return names


def _variables(model: keras.Layer) -> list:
    """In an order that freezing does not change."""
    return model.variables


def _seeds(model: keras.Layer) -> set[int]:
    """The ids of what random layers count: the engine draws by keys of its own."""
    layers = model._flatten_layers()
    return {id(generator.state) for layer in layers for generator in layer._seed_generators}


def _refuse_unbuilt(model: keras.Layer) -> None:
    if not model.built:
        raise CompileError(
            f"the Keras model {model.name!r} ({type(model).__name__}) is not built, so it has no weights yet: begin it "
            "with keras.Input, or call it once on an example"
        )


def _refuse_constraints(model: keras.Layer) -> None:
    for variable in model.trainable_variables:
        if variable.constraint is not None:
            raise CompileError(
                f"the Keras model's {variable.path!r} has the constraint {type(variable.constraint).__name__}, which "
                "Keras applies after each step and Stoker does not: build the layer without it"
            )


def _last_layer(model):
    while isinstance(model, keras.Model):
        outputs = getattr(model, "outputs", None)
        if not outputs or len(outputs) != 1:
            raise CompileError(
                f"the Keras model {model.name!r} ({type(model).__name__}) does not tell whether it gives logits or "
                "probabilities: set outputKind"
            )
        last = model.layers[-1] if isinstance(model, keras.Sequential) else outputs[0]._keras_history.operation
        model = last
    return model
