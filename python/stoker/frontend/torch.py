"""PyTorch: compiles an nn.Module and its loss into a training and an inference program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from stoker.batch_norm import PER_MICRO_BATCH, by_batch, with_still_norms
from stoker.errors import CompileError
from stoker.frontend import (
    additivity,
    buffers,
    build,
    coupling,
    freezing,
    inner,
    layouts,
    mixing,
    own_metrics,
    structure,
)
from stoker.frontend import precision as mixed
from stoker.frontend.agreement import settle
from stoker.frontend.bridges import compiled_on_torch
from stoker.frontend.copies import to_run
from stoker.frontend.foreign import Foreign
from stoker.frontend.guard import trained_by, untouched
from stoker.frontend.guess import default_output_kind, infer_input_shape
from stoker.frontend.hooks import refuse_gradient_hooks
from stoker.frontend.hugging import OwnLoss
from stoker.frontend.labels import as_given
from stoker.frontend.losses import Objective, Terms, as_module, with_added
from stoker.frontend.modes import same_in_both_modes
from stoker.frontend.module import ProgramModule
from stoker.frontend.passes import simplify
from stoker.frontend.state import refuse_memory, watched
from stoker.frontend.trace import EXAMPLE_ROWS, Stage, Trace, export
from stoker.program import Compiled, TensorSpec, is_mixed

__all__ = ["compile", "default_output_kind", "infer_input_shape"]

_METRICS = ("argmax", "sign", "half", None)


@compiled_on_torch
def compile(
    module: nn.Module,
    loss,
    inputs: list[TensorSpec],
    labels: list[TensorSpec],
    *,
    weighted: bool = False,
    loss_reduction: str | None = None,
    metric: str | None = None,
    evaluated: bool = False,
    measured: str | None = None,
    own: own_metrics.Own | None = None,
    freeze: Sequence[str] | Mapping[str, str] = (),
    mix: dict | None = None,
    class_weight: Sequence[float] | None = None,
    precision: str = "fp32",
) -> Compiled:
    """Compiles `module` trained by `loss`; the module itself is not touched.

    `loss` is a torch loss, a functional loss, or a callable of (outputs, labels), where labels is a tensor, or a dict
    by name if there are several. `loss_reduction` says what a callable gives: the 'mean' over rows (default), the 'sum'
    (then a step's gradient is the plain sum over its rows), or 'none', a loss for each row. `evaluated`: there
    is also a program that gives the loss in evaluation mode, and what it measures (default: what `metric` does). `own`:
    a user's metrics by name.
    `freeze`: patterns of names of parameters that are not trained, or {"upTo": layer}. `mix`: how rows are mixed in
    training (stoker.mixing). `class_weight`: what a row counts in training by the class that its only label is.
    `precision`: "fp32", or "bf16": the model is trained under autocast (not its loss), and evaluated in float32.
    """
    if metric not in _METRICS:
        raise ValueError(f"metric is {metric!r}; it may be one of {_METRICS}")
    loss = as_module(loss)
    objective = Objective(loss, loss_reduction, weighted or class_weight is not None)
    model, own_loss = _own_copies(module, loss)
    kept_modes = _to_train(model)
    _initialise_lazy(model, inputs)
    kept_modes += freezing.freeze(model, freeze, {spec.name: _example(spec) for spec in inputs})
    check_parameters(model)
    if isinstance(own_loss, OwnLoss):
        settle(own_loss, model, inputs, labels)

    trained = Trace()
    stage = TrainStage(model, own_loss, objective, inputs, labels, weighted, metric, trained,
                       class_weight=class_weight, precision=precision)  # fmt: skip
    stage.stands_for(module, loss)
    if mix is not None:
        stage.mix = mixing.Mix(**mix, channels_last=isinstance(model, Foreign) and model.channels_last())
        stage.mix.check(inputs)
    examples = [_example(spec) for spec in build.row_specs(inputs, labels, weighted)]
    with untouched(module, model):
        export(stage, trained, examples)
    refuse_memory(model, trained.changed, {spec.name: _example(spec) for spec in inputs})
    train_graph = build.Graph(trained, model, own_loss, "train")
    simplify(train_graph.module, gradients=True, mixed=precision == mixed.MIXED)
    train = mixed.marked(train_graph.train_program(inputs, labels, weighted, metric))

    shared = (
        mix is None
        and not is_mixed(train)
        and same_in_both_modes(model)
        and objective.known
        and train_graph.outputs_need_only(len(inputs))
    )
    graphs, programs = [train_graph], [train]
    if evaluated:
        measured = measured or metric
        eval_stage = EvalStage(model, own_loss, objective, inputs, labels, weighted, measured, Trace(), own)
        eval_stage.stands_for(module, loss)
        with untouched(module, model):
            module.eval()
            same = shared and measured == metric and not own and class_weight is None
            graphs.append(train_graph if same else _eval_graph(eval_stage, examples))
        programs.append(graphs[-1].eval_program(inputs, labels, weighted, measured))
    graphs.append(train_graph if shared else _infer_graph(model, inputs))
    infer, dropped = graphs[-1].infer_program(inputs)
    weights = build.gather_weights(model, graphs, [*programs, infer])
    if evaluated:
        own_metrics.check(programs[1], weights)
    shapes = {output["name"]: tuple(output["shape"]) for output in infer["outputs"]}
    coupled = _mark_coupled(infer, weights)
    statistics = buffers.statistics(train_graph.module) + _foreign_statistics(model, train)
    notes = coupled or _notes(mixed.in_float(train), weights, statistics, mix is not None)
    if notes:
        train["coupled"] = notes[0]
    foreign = model.notes() if isinstance(model, Foreign) else []
    layouts.hoist([*programs, infer], weights)
    return Compiled(train, infer, weights, shapes, kept_modes + dropped + notes + foreign,
                    programs[1] if evaluated else None)  # fmt: skip


@compiled_on_torch
def compile_inference(module: nn.Module, inputs: list[TensorSpec], layer: str | None = None) -> tuple[dict, dict]:
    """The inference program of a model, or of what a layer inside of it gives, and the weights that it reads. The
    module itself is not touched."""
    model, _ = _own_copies(module, None)
    _initialise_lazy(model, inputs)
    if layer is not None:
        inner.tap(model, layer)
    with untouched(module, model):
        graph = _infer_graph(model, inputs)
    infer, left_out = graph.infer_program(inputs)
    if left_out:
        raise CompileError(left_out[0])
    weights = build.gather_weights(model, [graph], [infer])
    _mark_coupled(infer, weights)
    layouts.hoist([infer], weights)
    return infer, inner.weights_of(infer, weights)


class TrainStage(Stage):
    """(inputs, labels, weight) -> numerator, denominator, outputs, what the metric compares."""

    mix: mixing.Mix | None = None

    def __init__(self, model, loss, objective: Objective, inputs, labels, weighted, metric, trace: Trace,
                 own: own_metrics.Own | None = None, class_weight: Sequence[float] | None = None,
                 precision: str = "fp32"):  # fmt: skip
        super().__init__(model, loss)
        self.class_weight, self.precision = class_weight, precision
        self.own = dict(own or {})
        self.plan = (objective, [s.name for s in inputs], [s.name for s in labels], weighted, metric)
        self.trace = [trace]  # in a list: nn.Module would look into it

    def run(self, *tensors):
        with self.guard():
            results, numerator = self._computed(*tensors)
        self.trace[0].trained = self.names_of(trained_by(numerator))
        return results

    def _computed(self, *tensors):
        objective, features, labels, weighted, metric = self.plan
        trace = self.trace[0]
        self.watch(trace, tensors[0])
        named = dict(zip(labels, tensors[len(features) :], strict=False))
        weight = tensors[-1] if weighted else None
        with watched(self.model, self.loss, trace.changed):
            rows = dict(zip(features, tensors, strict=False))
            if self.mix is not None:
                rows, share = self.mix.draw(rows)
            more = self.loss.into_forward(named) if isinstance(self.loss, OwnLoss) else {}
            if more and self.mix is not None:
                raise CompileError(f"mix={self.mix.name!r}: {self.loss.name} is one number for the rows of a batch, "
                                   "each with its own label: give a loss of (outputs, labels)")  # fmt: skip
            with mixed.around(self.precision):
                outputs = structure.call(self.model, rows, more)
            if self.precision == mixed.MIXED:
                outputs = structure.mapped(outputs, mixed.as_float)
            counts = self._by_class(named, weight)
            terms = objective(self.loss, outputs, as_given(named), counts)
            if self.mix is not None:
                theirs = as_given(mixing.partners_of(named))
                their_weight = None if counts is None else mixing.partners(counts)
                terms = mixing.joined(share, terms, objective(self.loss, outputs, theirs, their_weight))
            if isinstance(self.model, Foreign):
                terms = with_added(terms, self.model.added_loss(), tensors[0].shape[0])
            sums = [(name, *own_metrics.sums_of(name, function, outputs, as_given(named), weight))
                    for name, function in self.own.items()]  # fmt: skip
        return _results(trace, terms, outputs, named, weight, metric, sums), terms.numerator

    def _by_class(self, labels: dict, weight):
        """What each row counts. Labels that are no class are those that the loss leaves out."""
        if self.class_weight is None:
            return weight
        (label,) = labels.values()
        found = torch.tensor(self.class_weight)[label.clamp(0, len(self.class_weight) - 1)]
        return found if weight is None else found * weight


class EvalStage(TrainStage):
    """The same without gradients, of a model in evaluation mode."""

    def run(self, *tensors):
        with self.guard(), torch.no_grad():
            return self._computed(*tensors)[0]


class InferStage(Stage):
    def __init__(self, model, inputs, trace: Trace):
        super().__init__(model)
        self.names = [spec.name for spec in inputs]
        self.trace = [trace]

    def run(self, *tensors):
        self.watch(self.trace[0], tensors[0])
        with self.guard(), torch.no_grad():  # as a user evaluates: a forward may ask for the mode
            outputs = structure.call(self.model, dict(zip(self.names, tensors, strict=True)))
        return _number(self.trace[0], outputs, [])


def _results(trace: Trace, terms: Terms, outputs, labels: dict, weight, metric: str | None,
             sums: list) -> list[torch.Tensor]:  # fmt: skip
    results = [terms.numerator]
    trace.rows = terms.rows
    if terms.denominator is not None:
        trace.denominator = len(results)
        results.append(terms.denominator)
    if metric is not None:
        compared = build.compared(metric, outputs, labels, weight, terms)
        trace.metric = tuple(None if part is None else len(results) + index for index, part in enumerate(compared))
        results += [part for part in compared if part is not None]
    for name, numerator, denominator in sums:
        trace.sums.append((name, len(results), len(results) + 1))
        results += [numerator, denominator]
    return _number(trace, outputs, results)


def _number(trace: Trace, outputs, results: list[torch.Tensor]) -> list[torch.Tensor]:
    found = structure.leaves(outputs)
    if not found:
        raise CompileError("the model returns no tensor")
    trace.outputs = [(name, len(results) + index) for index, (name, _) in enumerate(found)]
    return results + [tensor for _, tensor in found]


def _infer_graph(model: nn.Module, inputs: list[TensorSpec]) -> build.Graph:
    trace = Trace()
    model.eval()
    export(InferStage(model, inputs, trace), trace, [_example(spec) for spec in inputs])
    graph = build.Graph(trace, model, None, "infer")
    simplify(graph.module, gradients=False)
    return graph


def _eval_graph(stage: EvalStage, examples: list[torch.Tensor]) -> build.Graph:
    (trace,) = stage.trace
    stage.eval()
    export(stage, trace, examples)
    graph = build.Graph(trace, stage.model, stage.loss, "eval")
    simplify(graph.module, gradients=False)
    return graph


def _own_copies(module: nn.Module, loss) -> tuple[nn.Module, object]:
    """Copied together, so that what a loss shares with the model it shares in the copies too."""
    if not isinstance(module, nn.Module):
        raise CompileError(f"model is a {type(module).__name__}; give a torch.nn.Module")
    refuse_gradient_hooks("model", module)
    if isinstance(loss, nn.Module):
        refuse_gradient_hooks("loss", loss)
    try:
        return to_run(module, loss) if isinstance(loss, nn.Module) else (*to_run(module), loss)
    except Exception as error:
        raise CompileError(f"the model or loss cannot be copied (copy.deepcopy): {error}") from error


def _to_train(model: nn.Module) -> list[str]:
    """Training mode, as a training loop sets it; parts that the user put into evaluation mode alone stay there."""
    if not model.training:
        model.train()
    frozen = [name for name, part in model.named_modules() if not part.training]
    tops = [name for name in frozen if name.rpartition(".")[0] not in frozen]
    return [f"in evaluation mode while it trains, as it was given: {', '.join(tops)}"] if tops else []


def _initialise_lazy(model: nn.Module, inputs: list[TensorSpec]) -> None:
    """nn.Lazy* layers learn their shapes from a first batch."""
    if not any(nn.parameter.is_lazy(p) for p in (*model.parameters(), *model.buffers())):
        return
    modes = {m: m.training for m in model.modules()}
    model.eval()
    with torch.no_grad():
        structure.call(model, {spec.name: _example(spec) for spec in inputs})
    for m, training in modes.items():
        m.training = training


def check_parameters(model: nn.Module) -> None:
    if isinstance(model, ProgramModule):
        model.check_trains()
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not trainable:
        raise CompileError("the model has no trainable parameter (requires_grad is False for all, or there are none)")
    for name, parameter in trainable:
        if parameter.dtype != torch.float32:
            kind = str(parameter.dtype).removeprefix("torch.")
            raise CompileError(f"parameter {name!r} is {kind}; Stoker keeps float32 weights: call model.float() first, "
                               "and set precision='bf16' to have products in bfloat16")  # fmt: skip


def _example(spec: TensorSpec) -> torch.Tensor:
    return torch.zeros((EXAMPLE_ROWS, *spec.shape), dtype=getattr(torch, spec.dtype))


def _mark_coupled(infer: dict, weights: dict) -> list[str]:
    """Whoever has the inference program must know; the note comes before hours of training."""
    place = coupling.place_of_coupling(infer, weights)
    if place is None:
        return []
    infer["coupled"] = place
    return [f"the model's answer for a row depends on the rows beside it, first at {place}: another number of shards "
            "gives another result, and transform will need transformGroup"]  # fmt: skip


def _foreign_statistics(model: nn.Module, train: dict) -> list[str]:
    places = model.statistics() if isinstance(model, Foreign) else {}
    return list(dict.fromkeys(places[entry["name"]] for entry in train["buffers"] if entry["name"] in places))


def _notes(train: dict, weights: dict, statistics: list[str], mixed: bool) -> list[str]:
    """What is per micro-batch: statistics, and beside them the loss."""
    if not statistics:
        return additivity.notes(train, weights, mixed)
    told = [f"{PER_MICRO_BATCH}{'; '.join(statistics)}: another number of shards gives another result; "
            "batchNorm='batch' makes them those of the whole batch"]  # fmt: skip
    if not by_batch(train):  # statistics of another kind, which nothing stills
        return told
    return told + additivity.notes(with_still_norms(train), weights, mixed)
