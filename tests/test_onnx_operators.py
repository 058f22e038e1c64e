"""Each operator of ONNX that Stoker knows: the cases of ONNX itself, and odd attributes and older opsets against
onnxruntime."""

import inspect
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from stoker.errors import UserError  # noqa: E402
from stoker.frontend.onnx import parse  # noqa: E402
from stoker.frontend.onnx.build import module_of  # noqa: E402
from stoker.frontend.onnx.registry import OPERATORS  # noqa: E402

# What ONNX has cases of that are told apart: (what is in a case's name, why it is not run).
LEFT_OUT = {
    "training_dropout": "draws random numbers",
    "empty_set": "the extremes of nothing",
    "downsample_scales_linear_align_corners": "another size than onnxruntime's",
    "downsample_scales_cubic_align_corners": "another size than onnxruntime's",
}
# Refused by name: part of an error's text.
REFUSED = (" is of type ", "is no tensor", " is of opset ", "keeps keys and values of earlier calls", "peepholes",
           "statistics of the batch too", "storage_order", "'tf_crop_and_resize'", "antialias",
           "which Stoker does not know", "expected rows, channels")  # fmt: skip


def cases():
    """Those of one node, of an operator that is known."""
    from onnx.backend.test.case import node

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = node.collect_testcases(None)
    return [case for case in found if len(case.model.graph.node) == 1 and not case.model.graph.node[0].domain
            and case.model.graph.node[0].op_type in OPERATORS]  # fmt: skip


def arrays(values):
    return [numpy_helper.to_array(one) if isinstance(one, TensorProto) else one for one in values]


def run(model, inputs, constant=()):
    """What the module gives; `constant`: names of inputs that are initializers instead."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    given = dict(zip([entry.name for entry in copy.graph.input], inputs))
    for name in constant:
        copy.graph.initializer.append(numpy_helper.from_array(np.asarray(given[name]), name))
    module = module_of(copy.SerializeToString()).eval()
    free = [torch.from_numpy(np.array(value)) for name, value in given.items() if name not in constant]
    with torch.no_grad():
        out = module(*free)
    return [one.numpy() for one in (out.values() if isinstance(out, dict) else [out])]


def agreed(model, inputs, wanted, tolerance):
    """Runs with all inputs given; where these decide shapes, with those but the first as constants, or with all."""
    names = [entry.name for entry in model.graph.input]
    for constant in ((), names[1:], names):
        try:
            found = run(model, inputs, constant)
            break
        except UserError as error:
            if "is computed from the rows' values" not in str(error) or constant == names:
                raise
    for one, other in zip(found, wanted):
        assert one.dtype == other.dtype and one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_the_cases_of_onnx_give_what_onnx_says(one_thread):
    passed, refused, wrong = [], [], []
    for case in cases():
        if any(part in case.name for part in LEFT_OUT):
            continue
        try:
            for inputs, wanted in case.data_sets:
                half = any(getattr(one, "dtype", None) == np.float16 for one in (*arrays(inputs), *arrays(wanted)))
                agreed(case.model, arrays(inputs), arrays(wanted), 2e-3 if half else 1e-4)
            passed.append(case.name)
        except UserError as error:
            (refused if any(text in str(error) for text in REFUSED) else wrong).append((case.name, str(error)))
        except Exception as error:
            wrong.append((case.name, repr(error)[:300]))
    assert not wrong
    assert len(passed) > 780 and len({case.model.graph.node[0].op_type for case in cases()}) > 115


def one_node(op, arrays_in, attributes, opset, constants=(), outputs=1):
    """A model of one node. Arrays in `constants` are initializers, None is an input that is left out."""
    names = [f"in{i}" if array is not None else "" for i, array in enumerate([*arrays_in, *constants])]
    node = helper.make_node(op, names, [f"out{i}" for i in range(outputs)], **attributes)
    inputs = [helper.make_tensor_value_info(names[i], helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
              for i, array in enumerate(arrays_in)]  # fmt: skip
    kept = [numpy_helper.from_array(array, names[len(arrays_in) + i]) for i, array in enumerate(constants)
            if array is not None]  # fmt: skip
    results = [helper.make_tensor_value_info(f"out{i}", TensorProto.UNDEFINED, None) for i in range(outputs)]
    for one in results:
        one.type.Clear()
    graph = helper.make_graph([node], "one", inputs, results, kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def floats(*shape, seed=0, low=-2.0, high=2.0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


X4, X3, X5 = floats(2, 3, 7, 6), floats(2, 3, 9), floats(2, 2, 5, 4, 6)
TABLE = [
    ("Conv", 11, [X4], {"pads": [1, 0, 2, 1], "strides": [2, 1]}, [floats(4, 3, 3, 2)]),
    ("Conv", 11, [X4], {"dilations": [2, 3], "group": 3}, [floats(6, 1, 2, 2), floats(6)]),
    ("Conv", 11, [X4], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, [floats(4, 3, 3, 4), floats(4)]),
    ("Conv", 22, [X4], {"auto_pad": "SAME_LOWER", "strides": [3, 2]}, [floats(4, 3, 4, 2)]),
    ("Conv", 11, [X4], {"auto_pad": "VALID"}, [floats(4, 3, 3, 2)]),
    ("Conv", 11, [X3], {"pads": [2, 1], "dilations": [2]}, [floats(5, 3, 3)]),
    ("Conv", 11, [X5], {"pads": [1, 0, 1, 1, 1, 0]}, [floats(3, 2, 2, 3, 2)]),
    ("ConvTranspose", 11, [X4], {"strides": [2, 3], "pads": [1, 0, 0, 2]}, [floats(3, 2, 3, 3), floats(2)]),
    ("ConvTranspose", 11, [X4], {"strides": [2, 2], "output_padding": [1, 0], "group": 3}, [floats(3, 2, 3, 2)]),
    ("ConvTranspose", 11, [X4], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}, [floats(3, 2, 3, 3)]),
    ("ConvTranspose", 11, [X4], {"strides": [2, 2], "output_shape": [14, 12]}, [floats(3, 2, 3, 3)]),
    ("ConvTranspose", 22, [X3], {"dilations": [2], "pads": [1, 1]}, [floats(3, 2, 3), floats(2)]),
    ("MaxPool", 12, [X4], {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}, []),
    ("MaxPool", 12, [X4], {"kernel_shape": [3, 3], "pads": [1, 0, 2, 1], "dilations": [2, 1]}, []),
    ("MaxPool", 12, [X4], {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER", "strides": [2, 2]}, []),
    ("MaxPool", 22, [X3], {"kernel_shape": [4], "strides": [3], "pads": [1, 2], "ceil_mode": 1}, []),
    ("MaxPool", 12, [X4], {"kernel_shape": [2, 3], "pads": [1, 1, 1, 1]}, [], 2),
    ("AveragePool", 11, [X4], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": 0}, []),
    ("AveragePool", 11, [X4], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1}, []),
    ("AveragePool", 19, [X4], {"kernel_shape": [3, 2], "strides": [2, 3], "ceil_mode": 1}, []),
    ("AveragePool", 19, [X4], {"kernel_shape": [2, 2], "dilations": [2, 2], "pads": [1, 1, 1, 1]}, []),
    ("AveragePool", 11, [X4], {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER", "strides": [2, 2]}, []),
    ("BatchNormalization", 9, [X4], {"epsilon": 1e-2, "momentum": 0.8},
     [floats(3), floats(3, seed=1), floats(3, seed=2), floats(3, low=0.5)]),
    ("BatchNormalization", 15, [floats(5, 3)], {}, [floats(3), floats(3), floats(3), floats(3, low=0.1)]),
    ("InstanceNormalization", 11, [X4], {"epsilon": 1e-3}, [floats(3), floats(3, seed=1)]),
    ("LayerNormalization", 17, [X4], {"axis": -2}, [floats(7, 6), floats(7, 6, seed=1)]),
    ("LayerNormalization", 17, [X4], {"axis": 3, "epsilon": 1e-2}, [floats(6)], 3),
    ("LRN", 13, [X4], {"size": 3, "alpha": 0.3, "beta": 0.6, "bias": 2.0}, []),
    ("LpNormalization", 11, [X4], {"axis": 1, "p": 1}, []),
    ("Softmax", 11, [X4], {"axis": 1}, []), ("Softmax", 11, [X4], {"axis": -1}, []), ("Softmax", 11, [X4], {}, []),
    ("Softmax", 13, [X4], {"axis": 1}, []), ("Softmax", 13, [X4], {}, []),
    ("LogSoftmax", 11, [X4], {"axis": 2}, []), ("LogSoftmax", 13, [X4], {"axis": -2}, []),
    ("Hardmax", 11, [X4], {"axis": 2}, []), ("Hardmax", 13, [X4], {"axis": 1}, []),
    ("Squeeze", 11, [floats(2, 1, 3, 1)], {"axes": [1, -1]}, []), ("Squeeze", 11, [floats(2, 1, 3, 1)], {}, []),
    ("Squeeze", 13, [floats(2, 1, 3, 1)], {}, [ints(-3)]), ("Unsqueeze", 11, [X3], {"axes": [-1, 0]}, []),
    ("Unsqueeze", 13, [X3], {}, [ints(3, -5)]),
    ("ReduceSum", 11, [X4], {"axes": [-1, 1], "keepdims": 0}, []), ("ReduceSum", 13, [X4], {}, [ints(-1, 1)]),
    ("ReduceSum", 13, [X4], {"noop_with_empty_axes": 1}, []), ("ReduceSum", 13, [X4], {"keepdims": 0}, []),
    ("ReduceMean", 13, [X4], {"axes": [2]}, []), ("ReduceMean", 18, [X4], {"keepdims": 0}, [ints(-2)]),
    ("ReduceProd", 18, [X4], {"keepdims": 0}, [ints(-2, 1)]), ("ReduceL2", 13, [X4], {"axes": [1]}, []),
    ("ReduceLogSumExp", 18, [X4], {}, [ints(3)]), ("ReduceMax", 13, [X4], {"axes": [1], "keepdims": 0}, []),
    ("Clip", 7, [X4], {"min": -0.5}, []), ("Clip", 11, [X4], {}, [np.float32(-0.3), np.float32(0.7)]),
    ("Clip", 12, [X4], {}, [None, np.float32(0.7)]), ("Clip", 13, [X4, np.float32(-0.2)], {}, []),
    ("Dropout", 7, [X4], {"ratio": 0.3}, []), ("Dropout", 12, [X4], {}, [np.float32(0.3)]),
    ("Dropout", 13, [X4], {}, [np.float32(0.3), np.array(False)], 2),
    ("Upsample", 7, [X4], {"scales": [1.0, 1.0, 2.0, 3.0], "mode": "nearest"}, []),
    ("Upsample", 9, [X4], {"mode": "linear"}, [np.array([1, 1, 2, 2], np.float32)]),
    ("Resize", 10, [X4], {"mode": "nearest"}, [np.array([1, 1, 1.5, 0.5], np.float32)]),
    ("Resize", 10, [X4], {"mode": "linear"}, [np.array([1, 1, 2, 2], np.float32)]),
    *[("Resize", 13, [X4], {"mode": "linear", "coordinate_transformation_mode": places},
       [None, None, ints(2, 3, 5, 11)])
      for places in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")],
    *[("Resize", 13, [X4], {"mode": "nearest", "coordinate_transformation_mode": places, "nearest_mode": rounding},
       [None, np.array([1, 1, 1.7, 0.6], np.float32)])
      for places in ("half_pixel", "asymmetric")
      for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")],
    *[("Resize", 13, [X4], {"mode": "cubic", "cubic_coeff_a": -0.5, "exclude_outside": outside},
       [None, np.array([1, 1, 1.5, 2], np.float32)]) for outside in (0, 1)],
    ("Resize", 19, [X4], {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
     [None, np.array([1, 1, 1.3, 0.7], np.float32)]),
    ("Resize", 18, [X4], {"mode": "linear", "axes": [3, 2]}, [None, np.array([2, 1.5], np.float32)]),
    ("Pad", 7, [X4], {"pads": [0, 0, 1, 2, 0, 0, 0, 1], "value": 0.5}, []),
    ("Pad", 11, [X4], {"mode": "reflect"}, [ints(0, 0, 2, 1, 0, 0, 1, 3)]),
    ("Pad", 13, [X4], {"mode": "edge"}, [ints(1, 0, 2, 0, 0, 1, 0, 3)]),
    ("Pad", 18, [X4], {}, [ints(1, 2, 0, 1), np.float32(2.5), ints(-1, 1)]),
    ("Pad", 19, [X4], {"mode": "wrap"}, [ints(0, 0, 2, 0, 0, 0, 0, 3)]),
    ("Slice", 9, [X4], {"starts": [1, -3], "ends": [100, -1], "axes": [1, 3]}, []),
    ("Slice", 13, [X4], {}, [ints(-1, 4), ints(-(1 << 62), 0), ints(2, 3), ints(-2, -1)]),
    ("Slice", 13, [X4], {}, [ints(0, 1), ints(1 << 62, 6), ints(1, -2), ints(2, 3)]),
    ("Split", 11, [X4], {"axis": -1, "split": [1, 5]}, [], 2), ("Split", 13, [X4], {"axis": 2}, [ints(3, 4)], 2),
    ("Split", 18, [X4], {"axis": 2, "num_outputs": 3}, [], 3), ("Split", 11, [X4], {"axis": 3}, [], 3),
    ("Gather", 11, [X4], {"axis": -2}, [np.array([[0, -1], [2, 3]], np.int64)]),
    ("Gather", 13, [X4], {"axis": 1}, [np.array(-1, np.int64)]),
    ("GatherElements", 13, [X3], {"axis": 1}, [np.array([[[0, -1, 1]], [[2, 1, -3]]], np.int64)]),
    ("GatherND", 12, [X4], {"batch_dims": 1}, [np.array([[[0, 1]], [[2, -1]]], np.int64)]),
    ("ScatterND", 16, [X3], {"reduction": "add"}, [np.array([[1, 2], [0, 1], [1, 2]], np.int64), floats(3, 9)]),
    ("ScatterElements", 16, [X3], {"axis": -1, "reduction": "mul"},
     [np.full((2, 3, 1), -2, np.int64), floats(2, 3, 1)]),
    ("TopK", 11, [X4], {"axis": 2, "largest": 0}, [ints(3)], 2),
    ("OneHot", 11, [ints(1, -1, 7)], {"axis": 0}, [ints(5), np.array([-1, 4], np.float32)]),
    ("CumSum", 14, [X3], {"exclusive": 1, "reverse": 1}, [np.array(-1, np.int64)]),
    ("ArgMax", 13, [np.round(X4)], {"axis": -1, "select_last_index": 1, "keepdims": 0}, []),
    ("ArgMin", 11, [X4], {"axis": 1}, []),
    ("Flatten", 11, [X4], {"axis": -1}, []), ("Flatten", 13, [X4], {"axis": 0}, []),
    ("Transpose", 13, [X4], {}, []), ("Tile", 13, [X3], {}, [ints(1, 2, 3)]),
    ("Expand", 13, [X3], {}, [ints(4, 1, 3, 1)]),
    ("DepthToSpace", 13, [floats(2, 8, 3, 2)], {"blocksize": 2, "mode": "CRD"}, []),
    ("Trilu", 14, [X4], {"upper": 0}, [np.array(-1, np.int64)]), ("Reshape", 13, [X4], {}, [ints(0, -1, 3)]),
    ("Add", 13, [X4], {}, [floats(3, 1, 1)]), ("Mul", 13, [X4], {}, [floats(1)]),
    ("Sub", 13, [X3], {}, [floats(4, 1, 3, 1)]), ("Div", 13, [ints(-7, 7, -8)], {}, [ints(2, -2, 3)]),
    ("Pow", 13, [np.abs(X3)], {}, [np.array(3, np.int64)]), ("Mod", 13, [ints(-7, 7, -8)], {}, [ints(3, -3, 3)]),
    ("PRelu", 9, [X4], {}, [floats(3, 1, 1)]), ("Where", 9, [X3 > 0, X3], {}, [floats(1, 3, 1)]),
    ("Gemm", 11, [floats(4, 5)], {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}, [floats(3, 4), floats(3)]),
    ("Gemm", 13, [floats(4, 5)], {}, [floats(5, 3)]), ("Gemm", 13, [floats(4, 5)], {}, [floats(5, 3), floats(4, 1)]),
    ("MatMul", 13, [floats(2, 4, 5)], {}, [floats(5, 3)]), ("MatMul", 13, [floats(5)], {}, [floats(5, 3)]),
    ("Einsum", 12, [floats(2, 3, 4)], {"equation": "bij, jk -> bik"}, [floats(4, 5)]),
    ("Gelu", 20, [X3], {"approximate": "tanh"}, []), ("HardSigmoid", 7, [X3], {"alpha": 0.3}, []),
    ("Selu", 7, [X3], {"gamma": 2.0}, []), ("Shrink", 9, [X3], {"bias": 0.2, "lambd": 0.7}, []),
]  # fmt: skip


def by_runtime(model, arrays_in):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {entry.name: np.asarray(array) for entry, array in zip(session.get_inputs(), arrays_in)})


@pytest.mark.parametrize("row", TABLE, ids=[f"{i}-{row[0]}-{row[1]}" for i, row in enumerate(TABLE)])
def test_odd_attributes_and_older_opsets_give_what_onnxruntime_gives(row):
    op, opset, given, attributes, constants, *outputs = row
    model = one_node(op, given, attributes, opset, constants, *outputs)
    agreed(model, given, by_runtime(model, given), 1e-5)


RECURRENT = [("LSTM", 4, {}), ("GRU", 3, {"linear_before_reset": 1}), ("GRU", 3, {}), ("RNN", 1, {}),
             ("RNN", 1, {"activations": ["Relu"]})]  # fmt: skip


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("op", "gates", "attributes"), RECURRENT)
def test_recurrent_layers_give_what_onnxruntime_gives(op, gates, attributes, direction):
    two, size = 2 if direction == "bidirectional" else 1, 4
    x = floats(5, 3, 6)
    weights = [floats(two, gates * size, 6), floats(two, gates * size, size, seed=1), floats(two, 2 * gates * size)]
    states = [None, floats(two, 3, size, seed=2)] + [floats(two, 3, size, seed=3)] * (op == "LSTM")
    told = {**attributes, "hidden_size": size, "direction": direction}
    if "activations" in told:
        told["activations"] = told["activations"] * two
    for given in ([*weights], weights[:2], [*weights, *states]):
        model = one_node(op, [x], told, 14, given, outputs=3 if op == "LSTM" else 2)
        agreed(model, [x], by_runtime(model, [x]), 1e-5)


def test_no_attribute_of_an_operator_is_forgotten():
    """What functions read is what they are told to read, and what ONNX has beside it is refused."""
    for op, operator in OPERATORS.items():
        read = set(re.findall(r"attribute\(\"(\w+)\"", inspect.getsource(operator.run)))
        assert read <= operator.reads, op
    model = one_node("Attention", [floats(1, 1, 2, 4)] * 3, {"is_causal": 1}, 23)
    model.graph.node[0].attribute.append(helper.make_attribute("left_window_size", 2))
    with pytest.raises(UserError, match=r"'out0' \(Attention\) has the attribute 'left_window_size', which Stoker"):
        module_of(model.SerializeToString())


def test_no_operator_has_changed_since_it_was_written():
    """A newer onnx may bring an opset that means something else: then look at it, and raise parse.NEWEST."""
    changed = [op for op in OPERATORS if onnx.defs.has(op) and onnx.defs.get_schema(op).since_version > parse.NEWEST]
    assert not changed


def test_the_page_lists_what_is_known():
    page = (Path(__file__).parent.parent / "docs/onnx.md").read_text()
    table = page[page.index("### Operators") : page.index("Each is compared")]
    assert set(re.findall(r"`(\w+)`", table)) == {*OPERATORS, "Constant"}
