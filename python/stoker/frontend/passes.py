"""Passes over an exported graph. Each takes the graph module, changes its graph, and does one thing."""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace

import torch
from torch import fx

from stoker.errors import CompileError
from stoker.frontend.errors import place_of_node
from stoker.frontend.private import unset_fake_temporarily

aten = torch.ops.aten
_ho = torch.ops.higher_order

_ASSERTS = {
    aten._assert_tensor_metadata.default,
    aten._assert_scalar.default,
    aten._assert_async.default,
    aten._assert_async.msg,
    aten.sym_constrain_range.default,
    aten.sym_constrain_range_for_size.default,
}
_DROPOUTS = {
    aten.dropout.default,
    aten.alpha_dropout.default,
    aten.feature_dropout.default,
    aten.feature_alpha_dropout.default,
}
_CASTS = {aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.to.other}


def simplify(gm: fx.GraphModule, gradients: bool, mixed: bool = False) -> None:
    """gradients: whether the graph will be differentiated, so that blocks without gradients must stop them. mixed:
    whether it may have blocks under autocast."""
    inline_modes(gm, gradients, mixed)
    drop_asserts(gm)
    drop_lifting(gm)
    drop_identities(gm)
    settle_recurrent(gm)
    name_squeezed_dims(gm)
    fuse_linear(gm)
    fuse_bias_of_conv(gm)
    pool_before_relu(gm)
    copy_changed_inputs(gm)


def complete_users(gm: fx.GraphModule) -> None:
    """torch.export forgets some users of nodes where it takes blocks of another gradient mode apart."""
    for graph in (part.graph for part in gm.modules() if isinstance(part, fx.GraphModule)):
        for node in graph.nodes:
            for source in node.all_input_nodes:
                source.users.setdefault(node)


def drop_asserts(gm: fx.GraphModule) -> None:
    for node in list(gm.graph.nodes):
        if node.target in _ASSERTS:
            gm.graph.erase_node(node)


def drop_identities(gm: fx.GraphModule) -> None:
    """Casts to the same type, dropout that drops nothing, broadcasts to the same shape: what returns its argument."""
    for node in list(gm.graph.nodes):
        if _is_same_cast(node) or _is_idle_dropout(node):
            _replace(gm, node, node.args[0])
        elif node.target is operator.getitem and node.args[0].target is aten.broadcast_tensors.default:
            source = node.args[0].args[0][node.args[1]]
            if source.meta["val"].shape == node.meta["val"].shape:
                _replace(gm, node, source)


_RECURRENT = {getattr(aten, name).input for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}


def settle_recurrent(gm: fx.GraphModule) -> None:
    """Under autocast a recurrent layer's dtype is that of the kernel which a machine takes for it: here it gives
    float32."""
    for node in list(gm.graph.nodes):
        if node.target is operator.getitem and node.args[0].target in _RECURRENT and node.args[0].meta.get("autocast"):
            with gm.graph.inserting_after(node):
                cast = gm.graph.call_function(aten.to.dtype, (node, torch.float32))
            cast.meta = {key: value for key, value in node.meta.items() if key != "autocast"}
            node.replace_all_uses_with(cast, delete_user_cb=lambda user, cast=cast: user is not cast)


def _replace(gm: fx.GraphModule, node: fx.Node, by: fx.Node) -> None:
    node.replace_all_uses_with(by)
    gm.graph.erase_node(node)


def _is_same_cast(node: fx.Node) -> bool:
    if node.target not in _CASTS or node.kwargs.get("copy") or node.kwargs.get("memory_format") is not None:
        return False
    if any(argument is True for argument in node.args[1:]):  # non_blocking, copy
        return False
    before, after = node.args[0].meta.get("val"), node.meta.get("val")
    return (before.dtype, before.device, before.layout) == (after.dtype, after.device, after.layout)


def _is_idle_dropout(node: fx.Node) -> bool:
    return node.target in _DROPOUTS and (node.args[1] == 0 or node.args[2] is False)


def drop_lifting(gm: fx.GraphModule) -> None:
    """A literal tensor is detach_(lift_fresh_copy(constant)); the constant itself will do, if nobody changes it.

    Other tensors' detach_ is detach: who used the tensor before goes on, who uses it later gets the new one.
    """
    for node in list(gm.graph.nodes):
        if node.target is aten.detach_.default:
            if node.args[0].target is aten.lift_fresh_copy.default:
                _replace(gm, node, node.args[0])
            else:
                node.target = aten.detach.default
    for node in list(gm.graph.nodes):
        if node.target is aten.lift_fresh_copy.default and not _changed(node):
            _replace(gm, node, node.args[0])


def name_squeezed_dims(gm: fx.GraphModule) -> None:
    """squeeze() removes the dimensions that the trace saw as 1, not the batch when it happens to have one row."""
    for node in list(gm.graph.nodes):
        if node.target is aten.squeeze.default:
            shape = node.args[0].meta["val"].shape
            node.target = aten.squeeze.dims
            node.args = (node.args[0], [dim for dim, size in enumerate(shape) if isinstance(size, int) and size == 1])


def fuse_linear(gm: fx.GraphModule) -> None:
    """matmul(x, w) + b with a matrix w and a vector b is linear(x, w.t(), b), one operator."""
    for node in list(gm.graph.nodes):
        found = _matmul_plus_vector(node)
        if found is None:
            continue
        product, bias = found
        x, matrix = product.args
        with gm.graph.inserting_before(node):
            transposed = gm.graph.call_function(aten.t.default, (matrix,))
            fused = gm.graph.call_function(aten.linear.default, (x, transposed, bias))
        transposed.meta, fused.meta = dict(product.meta), dict(node.meta)
        transposed.meta["val"] = matrix.meta["val"].t()
        node.replace_all_uses_with(fused)
        gm.graph.erase_node(node)
        gm.graph.erase_node(product)


def _matmul_plus_vector(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    if node.target is not aten.add.Tensor or node.kwargs or len(node.args) != 2:
        return None
    product, bias = node.args
    if not (isinstance(product, fx.Node) and isinstance(bias, fx.Node)):
        return None
    if bias.target in (aten.matmul.default, aten.mm.default):
        product, bias = bias, product
    if product.target not in (aten.matmul.default, aten.mm.default) or len(product.users) != 1:
        return None
    x, matrix = (argument.meta["val"] for argument in product.args)
    vector = bias.meta.get("val")
    if not isinstance(vector, torch.Tensor) or x.dim() < 2 or matrix.dim() != 2:
        return None
    if not vector.dtype == x.dtype == product.meta["val"].dtype:  # under autocast the sum is of other numbers
        return None
    return (product, bias) if tuple(vector.shape) == (matrix.shape[1],) else None


_CONVS = {aten.conv1d.default, aten.conv2d.default, aten.conv3d.default}
_CONVS |= {aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding}


def fuse_bias_of_conv(gm: fx.GraphModule) -> None:
    """conv(x, w) + b, with b in the place of the channels, is conv(x, w, b), one pass over the pictures less."""
    for node in list(gm.graph.nodes):
        if (found := _conv_plus_channels(node)) is not None:
            conv, bias = found
            conv.args = (*conv.args[:2], bias, *conv.args[3:])
            _replace(gm, node, node.args[0])


def _conv_plus_channels(node: fx.Node) -> tuple[fx.Node, fx.Node] | None:
    """The convolution, which nobody else reads, and the parameter that is added to it or to its permuted result."""
    if node.target is not aten.add.Tensor or node.kwargs or len(node.args) != 2:
        return None
    conv, spread = node.args
    order = list(range(node.meta["val"].dim()))
    if conv.target is aten.permute.default and len(conv.users) == 1:
        conv, order = conv.args[0], [dim % len(order) for dim in conv.args[1]]
    if conv.target not in _CONVS or len(conv.users) != 1 or conv.kwargs or conv.args[2:3] not in ((), (None,)):
        return None
    if not isinstance(spread, fx.Node) or spread.target not in (aten.reshape.default, aten.view.default):
        return None
    wanted = [conv.meta["val"].shape[1] if dim == 1 else 1 for dim in order]
    bias = spread.args[0]
    fits = list(spread.meta["val"].shape) == wanted and bias.op == "placeholder" and bias.meta["val"].dim() == 1
    fits = fits and conv.meta["val"].dtype == node.meta["val"].dtype  # not under autocast
    return (conv, bias) if fits else None


_MAX_POOLS = {aten.max_pool1d.default, aten.max_pool2d.default, aten.max_pool3d.default}
_REORDERS = {aten.permute.default, aten.transpose.int}


def pool_before_relu(gm: fx.GraphModule) -> None:
    """max_pool(relu(x)) is relu(max_pool(x)), of fewer numbers. So are gradients: where a window's largest number is
    above zero it is the same one, elsewhere none comes through."""
    for node in list(gm.graph.nodes):
        last = _only_user(node, _REORDERS)
        pool = _only_user(last, _MAX_POOLS)
        if not _is_relu(node) or pool is last or _writes_between(node, pool):
            continue
        node.replace_all_uses_with(node.args[0])
        with gm.graph.inserting_after(pool):
            after = gm.graph.call_function(aten.relu.default, (pool,))
        after.meta = {**node.meta, "val": pool.meta["val"]}
        pool.replace_all_uses_with(after, delete_user_cb=lambda user, after=after: user is not after)
        gm.graph.erase_node(node)


def _is_relu(node: fx.Node) -> bool:
    """Also in place, where nobody else sees what is overwritten."""
    if node.target is not aten.relu_.default:
        return node.target is aten.relu.default
    source = node.args[0]
    return source.op == "call_function" and len(source.users) == 1 and not viewed_arguments(source)


def _writes_between(first: fx.Node, last: fx.Node) -> bool:
    node = first
    while (node := node.next) is not last:
        if changed_arguments(node):
            return True
    return False


def _only_user(node: fx.Node, targets: set) -> fx.Node:
    """The last of those that follow, each the only one that reads the one before; the node itself if there is none."""
    while len(node.users) == 1 and (user := next(iter(node.users))).target in targets:
        node = user
    return node


def copy_changed_inputs(gm: fx.GraphModule) -> None:
    """An input that the model changes in place is copied first: the rows belong to the caller."""
    for node in list(gm.graph.nodes):
        if node.op == "placeholder" and node.meta.get("stoker_input") and _changed(node):
            with gm.graph.inserting_after(node):
                copy = gm.graph.call_function(aten.clone.default, (node,))
            copy.meta = {key: value for key, value in node.meta.items() if key != "stoker_input"}
            node.replace_all_uses_with(copy, delete_user_cb=lambda user, copy=copy: user is not copy)


def inline_modes(gm: fx.GraphModule, gradients: bool, mixed: bool = False) -> None:
    """Blocks under torch.no_grad() become plain operators on detached tensors; nodes of autocast blocks that are on
    have `autocast` in their meta."""
    for node in list(gm.graph.nodes):
        if node.target in (_ho.wrap_with_set_grad_enabled, _ho.wrap_with_autocast):
            with gm.graph.inserting_before(node):
                results = _Inliner(gm.graph, gradients, mixed).block(gm, node, list(node.args), _Modes())
            _replace_results(gm.graph, node, results)
    gm.graph.eliminate_dead_code(is_impure_node=lambda node: node.op != "get_attr")


def _replace_results(graph: fx.Graph, node: fx.Node, results) -> None:
    for user in list(node.users):
        user.replace_all_uses_with(results[user.args[1]])
        graph.erase_node(user)
    graph.erase_node(node)


@dataclass(frozen=True)
class _Modes:
    """Of a block."""

    grad: bool = True
    autocast: bool = False


class _Inliner:
    """Copies the nodes of a block, and of blocks inside it, to the insert point."""

    def __init__(self, graph: fx.Graph, gradients: bool, mixed: bool):
        self.graph, self.gradients, self.mixed = graph, gradients, mixed
        self.detached: dict[fx.Node, fx.Node] = {}
        self.without: set[fx.Node] = set()  # made where gradients are off

    def block(self, owner: fx.GraphModule, node: fx.Node, args: list, modes: _Modes) -> tuple:
        if node.target is _ho.wrap_with_set_grad_enabled:
            modes, body, inputs = replace(modes, grad=args[0]), node.args[1], args[2:]
        else:
            modes, body, inputs = self._under_autocast(owner, node, modes), node.args[4], args[5:]
        return self.splice(getattr(owner, body.target), inputs, modes)

    def _under_autocast(self, owner: fx.GraphModule, node: fx.Node, modes: _Modes) -> _Modes:
        device, dtype, enabled = node.args[:3]
        if device != "cpu":
            return modes
        if enabled and not (self.mixed and dtype is torch.bfloat16):
            _refuse_autocast(node, getattr(owner, node.args[4].target))
        return replace(modes, autocast=enabled)

    def splice(self, body: fx.GraphModule, inputs: list, modes: _Modes) -> tuple:
        values: dict[fx.Node, object] = {}
        inputs = iter(inputs)
        for node in body.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(inputs)
            elif node.op == "output":
                return fx.map_arg(node.args[0], values.__getitem__)
            elif node.target in (_ho.wrap_with_set_grad_enabled, _ho.wrap_with_autocast):
                values[node] = self.block(body, node, _block_args(node, values), modes)
            elif node.target is operator.getitem and isinstance(values[node.args[0]], (tuple, list)):
                values[node] = values[node.args[0]][node.args[1]]
            elif node.op == "call_function":
                values[node] = self.copy(node, values, modes)
        return ()

    def copy(self, node: fx.Node, values: dict, modes: _Modes):
        grad = modes.grad or not self.gradients
        if not grad and _returns_argument(node):
            return values[node.args[0]]  # with the gradient that it has
        made = self.graph.node_copy(node, lambda arg: values[arg] if grad else self.operand(values[arg]))
        made.meta["autocast"] = modes.autocast
        if grad:
            return made
        self.without.add(made)
        changed = changed_arguments(node)  # in place: the same tensor as before, with the gradient that it had
        return values[changed[0]] if changed and _returns_changed(node) else made

    def operand(self, value):
        if not self._may_need_grad(value):
            return value
        if value not in self.detached:
            node = self.graph.call_function(aten.detach.default, (value,))
            node.meta = dict(value.meta, val=value.meta["val"].detach())
            self.detached[value] = node
            self.without.add(node)
        return self.detached[value]

    def _may_need_grad(self, value) -> bool:
        tensor = value.meta.get("val") if isinstance(value, fx.Node) else None
        if not isinstance(tensor, torch.Tensor) or value in self.without:
            return False
        if value.op == "placeholder":  # exported graphs say it of placeholders only
            return tensor.requires_grad
        return tensor.dtype.is_floating_point or tensor.dtype.is_complex


def _block_args(node: fx.Node, values: dict) -> list:
    return [values.get(arg) if isinstance(arg, fx.Node) else arg for arg in node.args]


def _refuse_autocast(node: fx.Node, body: fx.GraphModule) -> None:
    first = next((inner for inner in body.graph.nodes if inner.op == "call_function"), node)
    raise CompileError(f"mixed precision (torch.autocast) at {place_of_node(first)}: leave it out of the model; "
                       "precision='bf16' trains all of it under autocast")  # fmt: skip


def _returns_changed(node: fx.Node) -> bool:
    """Whether the operator's only result is the argument that it changes."""
    schema = getattr(node.target, "_schema", None)
    returned = schema.returns if schema is not None else ()
    return len(returned) == 1 and returned[0].alias_info is not None and returned[0].alias_info.is_write


def _returns_argument(node: fx.Node) -> bool:
    """Whether the result is the first argument itself, no view or copy: a cast to its own type, flatten of what is
    flat. Tried without values, since it may depend on strides."""
    first = node.args[0] if node.args and isinstance(node.args[0], fx.Node) else None
    before, after = (part.meta.get("val") if part else None for part in (first, node))
    if not all(isinstance(val, torch.Tensor) for val in (before, after)) or len(node.all_input_nodes) > 2:
        return False
    if before.dtype != after.dtype or before.dim() != after.dim() or changed_arguments(node):
        return False
    try:
        stand_ins = {arg: _without_values(arg.meta.get("val")) for arg in node.all_input_nodes}
        args, kwargs = fx.map_arg((node.args, node.kwargs), stand_ins.get)
        with torch.no_grad(), unset_fake_temporarily():
            return node.target(*args, **kwargs) is stand_ins[first]
    except (RuntimeError, TypeError, NotImplementedError):  # also where shapes depend on values
        return False


def _without_values(value):
    if isinstance(value, torch.Tensor):
        sizes, strides = (list(map(_hint, parts)) for parts in (value.shape, value.stride()))
        return torch.empty_strided(sizes, strides, dtype=value.dtype, device="meta")
    return _hint(value) if isinstance(value, torch.SymInt) else value


def _hint(size: int | torch.SymInt) -> int:
    return size if isinstance(size, int) else size.node.hint


def changed_arguments(node: fx.Node) -> list[fx.Node]:
    """The arguments whose memory this node writes."""
    if node.target in (aten.batch_norm.default, aten.instance_norm.default):
        return [arg for arg in node.args[3:5] if isinstance(arg, fx.Node)] if node.args[5] else []
    schema = getattr(node.target, "_schema", None)
    return _aliased(node, schema, written=True) if schema is not None and schema.is_mutable else []


def viewed_arguments(node: fx.Node) -> list[fx.Node]:
    """The arguments whose memory this node's result may share."""
    schema = getattr(node.target, "_schema", None)
    if node.target is operator.getitem:
        return [node.args[0]]
    if node.target in _MAYBE_VIEWS:
        return [node.args[0]]
    return _aliased(node, schema, written=False) if schema is not None else []


_MAYBE_VIEWS = {aten.reshape.default, aten.contiguous.default, aten.flatten.using_ints, *_CASTS}


def _aliased(node: fx.Node, schema, written: bool) -> list[fx.Node]:
    found = []
    for position, argument in enumerate(schema.arguments):
        value = node.args[position] if position < len(node.args) else node.kwargs.get(argument.name)
        info = argument.alias_info
        if info is None or (written and not info.is_write):
            continue
        items = value if isinstance(value, (list, tuple)) else [value]
        found += [item for item in items if isinstance(item, fx.Node)]
    return found


def _changed(node: fx.Node) -> bool:
    """Whether this tensor's memory, through it or a view of it, is written later."""
    seen, todo = {node}, [node]
    while todo:
        value = todo.pop()
        for user in value.users:
            if value in changed_arguments(user):
                return True
            if value in viewed_arguments(user) and user not in seen:
                seen.add(user)
                todo.append(user)
    return False
