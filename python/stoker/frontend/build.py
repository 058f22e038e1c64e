"""Puts programs together: names for what the graph reads, slots, loss, metric, and the weights."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.export.graph_signature import InputKind

from stoker.errors import CompileError
from stoker.frontend import buffers, labels, passes, private, structure
from stoker.frontend.emit import Emitter, dtype_name, live_nodes
from stoker.frontend.foreign import Foreign
from stoker.frontend.losses import Terms, spread
from stoker.frontend.trace import Trace, all_tensors
from stoker.program import FORMAT, VERSION, TensorSpec

WEIGHT = TensorSpec("weight", "float32", ())


def row_specs(inputs: list[TensorSpec], label_specs: list[TensorSpec], weighted: bool) -> list[TensorSpec]:
    return [*inputs, *label_specs, *([WEIGHT] if weighted else [])]


class Graph:
    """An exported graph whose placeholders have the user's names."""

    def __init__(self, trace: Trace, model: nn.Module, loss, kind: str):
        self.trace, self.kind = trace, kind
        self.means = set(model.statistics()) if isinstance(model, Foreign) else set()
        self.module = trace.program.graph_module
        passes.complete_users(self.module)
        self.names = _Names(model, loss, kind)
        self.inputs: list[fx.Node] = []
        self.parameters: dict[str, fx.Node] = {}
        self.others: dict[str, fx.Node] = {}  # buffers and constants
        self.tensors: dict[str, torch.Tensor] = {}
        placeholders = [node for node in self.module.graph.nodes if node.op == "placeholder"]
        for node, spec in zip(placeholders, trace.program.graph_signature.input_specs, strict=True):
            self._place(node, spec)

    def _place(self, node: fx.Node, spec) -> None:
        if spec.kind is InputKind.USER_INPUT:
            node.meta["stoker_input"] = True
            self.inputs.append(node)
            return
        if spec.kind is InputKind.CONSTANT_TENSOR:
            name, tensor = f"${self.kind}.{spec.target}", self.trace.program.constants[spec.target]
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
            name, tensor = self.names.of(spec.target)
        else:
            raise CompileError(f"the model holds {spec.target!r}, which is not a tensor and cannot be compiled")
        kept = self.parameters if self._is_trained(spec.target, tensor) else self.others
        if name in kept:  # a tied weight: its other name reads the same memory
            node.replace_all_uses_with(kept[name])
        else:
            kept[name], self.tensors[name] = node, tensor

    def _is_trained(self, target: str, tensor: torch.Tensor) -> bool:
        """As torch.optim, which leaves alone, weight decay included, what gets no gradient."""
        trained = self.trace.trained
        return isinstance(tensor, nn.Parameter) and tensor.requires_grad and (trained is None or target in trained)

    def results(self) -> list[fx.Node]:
        return list(next(iter(reversed(self.module.graph.nodes))).args[0])

    def eval_program(self, inputs, label_specs, weighted: bool, metric: str | None) -> dict:
        """The loss of a graph that changes nothing."""
        written = buffers.rules(self.module, self._named_nodes(), self.means)
        buffers.forget_statistics(self.module)
        program = self.train_program(inputs, label_specs, weighted, metric, keeps_state=False)
        self._refuse_changing_answers([entry["name"] for entry in program["buffers"] if entry["name"] in written])
        return {**program, "kind": "eval"}

    def train_program(self, inputs, label_specs, weighted: bool, metric: str | None, keeps_state: bool = True) -> dict:
        trace, results = self.trace, self.results()
        compared = [None if part is None else results[part] for part in trace.metric or ()]
        wanted = [results[0], *(part for part in compared if part is not None)]
        if trace.denominator is not None:
            wanted.append(results[trace.denominator])
        wanted += [results[index] for _, *pair in trace.sums for index in pair]
        emitter = Emitter(self.module.graph, wanted, keeps_state=keeps_state)
        roles = ["feature"] * len(inputs) + ["label"] * len(label_specs) + ["weight"] * weighted
        program = self._program(emitter, row_specs(inputs, label_specs, weighted), roles)
        found = [(name, results[index]) for name, index in trace.outputs]
        program["outputs"] = [self._output(emitter, name, node) for name, node in found if node in emitter.live]
        program["loss"] = {"numerator": emitter.slot(results[0]), "denominator": self._denominator(emitter, results)}
        program["metric"] = _metric(emitter, metric, compared)
        if trace.sums:
            program["sums"] = [{"name": name, "numerator": emitter.slot(results[over]), "denominator":
                                emitter.slot(results[under])} for name, over, under in trace.sums]  # fmt: skip
        return program

    def outputs_need_only(self, count: int) -> bool:
        """Whether the outputs can be had from the first `count` inputs, so without labels."""
        results = self.results()
        live = live_nodes(self.module.graph, [results[index] for _, index in self.trace.outputs])
        return not any(node in live for node in self.inputs[count:])

    def infer_program(self, inputs: list[TensorSpec]) -> tuple[dict, list[str]]:
        """The program, and notes on outputs that were left out."""
        results = self.results()
        found, notes = self._row_outputs([(name, results[index]) for name, index in self.trace.outputs])
        written = buffers.rules(self.module, self._named_nodes(), self.means)
        buffers.forget_statistics(self.module)
        emitter = Emitter(self.module.graph, [node for _, node in found], keeps_state=False)
        self._refuse_changing_answers([name for name in written if self.others.get(name) in emitter.live])
        program = self._program(emitter, inputs, ["feature"] * len(inputs))
        program["kind"] = "infer"
        program["outputs"] = [self._output(emitter, name, node) for name, node in found]
        program["widest"] = max(map(values_of_one_row, emitter.live), default=0)
        return program, notes

    @staticmethod
    def _refuse_changing_answers(read: list[str]) -> None:
        if read:
            raise CompileError(
                f"the model changes {read[0]!r} in evaluation mode too, and its outputs depend on it: a row's answer "
                "would depend on how many batches came before; change it only if self.training"
            )

    def _program(self, emitter: Emitter, specs: list[TensorSpec], roles: list[str]) -> dict:
        inputs = [
            {"name": spec.name, "role": role, **_typed(emitter.slot(node), spec.dtype, spec.shape)}
            for spec, role, node in zip(specs, roles, self.inputs, strict=False)
        ]
        rules = buffers.rules(self.module, self._named_nodes(), self.means)
        parameters = [self._parameter(emitter, *entry) for entry in self.parameters.items() if entry[1] in emitter.live]
        others = {name: node for name, node in self.others.items() if node in emitter.live}
        written = [dict(self._tensor(emitter, n, others[n]), rule=rules[n]) for n in others if n in rules]
        constants = [self._tensor(emitter, n, others[n]) for n in others if n not in rules]
        nodes = emitter.nodes()
        return {
            "format": FORMAT, "version": VERSION, "kind": self.kind, "torch": torch_minor(),
            "inputs": inputs, "parameters": parameters, "buffers": written, "constants": constants,
            "slots": emitter.slots, "nodes": nodes, "outputs": [],
        }  # fmt: skip

    def _named_nodes(self) -> dict[fx.Node, str]:
        return {node: name for kept in (self.parameters, self.others) for name, node in kept.items()}

    def _parameter(self, emitter: Emitter, name: str, node: fx.Node) -> dict:
        shape = list(self.tensors[name].shape)
        return {"name": name, "slot": emitter.slot(node), "shape": shape, "aliases": self.names.aliases.get(name, [])}

    def _tensor(self, emitter: Emitter, name: str, node: fx.Node) -> dict:
        tensor = self.tensors[name]
        return {"name": name, **_typed(emitter.slot(node), dtype_name(tensor.dtype), tensor.shape)}

    def _output(self, emitter: Emitter, name: str, node: fx.Node) -> dict:
        shape = [size if isinstance(size, int) else -1 for size in node.meta["val"].shape[1:]]
        return {"name": name, "slot": emitter.slot(node), "shape": shape}

    def _denominator(self, emitter: Emitter, results: list[fx.Node]) -> dict:
        if self.trace.denominator is None:
            return {"rows": float(self.trace.rows)}
        return {"slot": emitter.slot(results[self.trace.denominator])}

    def _row_outputs(self, found: list[tuple[str, fx.Node]]) -> tuple[list[tuple[str, fx.Node]], list[str]]:
        batch = str(self.inputs[0].meta["val"].shape[0])
        kept = [(name, node) for name, node in found if str((*node.meta["val"].shape, None)[0]) == batch]
        odd = [f"{name!r} with shape {list(node.meta['val'].shape)}" for name, node in set(found) - set(kept)]
        if not kept:
            raise CompileError(f"the model gives no output with one row for each input row, only {', '.join(odd)}")
        return kept, [f"output {text} has no row for each input row: it is left out of transform" for text in odd]


def values_of_one_row(node: fx.Node) -> int:
    """Values that a node's tensors have when the batch has one row; 0 where their number does not depend on it."""
    values = node.meta.get("val")
    tensors = [value for value in (values if isinstance(values, (tuple, list)) else [values])
               if isinstance(value, torch.Tensor)]  # fmt: skip
    exprs = [size.node.expr for size in map(torch.Tensor.numel, tensors) if not isinstance(size, int)]
    return max((int(expr.subs(dict.fromkeys(expr.free_symbols, 1))) for expr in exprs), default=0)


def _typed(slot: int, dtype: str, shape) -> dict:
    return {"slot": slot, "dtype": dtype, "shape": list(shape)}


def torch_minor() -> str:
    return ".".join(torch.__version__.split(".")[:2])


def _metric(emitter: Emitter, kind: str | None, compared: list) -> dict | None:
    if kind is None:
        return None
    output, label, weight = (None if node is None else emitter.slot(node) for node in compared)
    return {"kind": kind, "output": output, "label": label, "weight": weight}


def compared(metric: str, outputs, label_tensors: dict, weight, terms: Terms) -> tuple:
    """What the metric compares: output (classes last), label of the shape of its result, what each counts."""
    output = labels.single_output("the metric", outputs)
    label = labels.single_label("the metric", labels.as_given(label_tensors))
    if metric == "argmax":
        if label.is_floating_point() and structure.row_shape(label) == structure.row_shape(output):
            label = label.argmax(1)
        output = output.movedim(1, -1) if output.dim() > 2 else output
        label = label.reshape([-1, *output.shape[1:-1]]) if label.dim() != output.dim() - 1 else label
    else:  # "sign", "half", "values"
        label = labels.like_output("the metric", output, label)[1]
    counts = terms.counts
    if weight is not None:
        counts = weight if counts is None else counts * spread(weight, counts)
    return output, label, counts


class _Names:
    """The user's name for each parameter and buffer; one name for a tied one, the others are its aliases."""

    def __init__(self, model: nn.Module, loss, kind: str):
        self.first: dict[int, str] = {}
        self.tensors: dict[str, torch.Tensor] = {}
        self.aliases: dict[str, list[str]] = {}
        hidden = hidden_buffers(model)
        for name, tensor in all_tensors(model):
            self._add(f"model.{name}", f"$model.{name}" if name in hidden else name, tensor)
        for name, tensor in all_tensors(loss) if isinstance(loss, nn.Module) else ():
            self._add(f"loss.{name}", f"$loss.{name}", tensor)

    def _add(self, target: str, name: str, tensor: torch.Tensor) -> None:
        self.tensors[target] = tensor
        first = self.first.setdefault(id(tensor), name)
        if first != name:
            self.aliases.setdefault(first, []).append(name)

    def of(self, target: str) -> tuple[str, torch.Tensor]:
        tensor = self.tensors[target]
        return self.first[id(tensor)], tensor


def hidden_buffers(model: nn.Module) -> set[str]:
    """Buffers that state_dict leaves out."""
    return {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules(remove_duplicate=False)
        for name in private.hidden_buffers(module)
    }


def gather_weights(model: nn.Module, graphs: list[Graph], programs: list[dict]) -> dict:
    """Everything the programs read, and the rest of the model's state_dict."""
    hidden = hidden_buffers(model)
    tensors = {name: tensor for name, tensor in all_tensors(model) if name not in hidden}
    for parameter in programs[0]["parameters"]:
        for alias in parameter["aliases"]:
            tensors.pop(alias, None)
    for graph, program in zip(graphs, programs, strict=True):
        for entry in (*program["parameters"], *program["buffers"], *program["constants"]):
            tensors[entry["name"]] = graph.tensors[entry["name"]]
    return {name: _numpy(name, tensor) for name, tensor in tensors.items()}


def _numpy(name: str, tensor: torch.Tensor):
    if tensor.dtype is torch.bfloat16 or tensor.is_complex() or tensor.layout is not torch.strided:
        kind = f"{dtype_name(tensor.dtype)} ({dtype_name(tensor.layout)})"
        raise CompileError(f"{name!r} is {kind}, which cannot be saved")
    return tensor.detach().contiguous().numpy()
