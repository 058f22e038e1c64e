"""What an ONNX file may say and exporters hardly do: it gives onnxruntime's values, or is refused by name."""

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402

from stoker.errors import UserError  # noqa: E402
from stoker.frontend.onnx.build import module_of  # noqa: E402
from stoker.frontend.onnx.scoring import scoring  # noqa: E402
from test_onnx_operators import agreed, by_runtime, floats, ints, one_node, run  # noqa: E402

X4, X3 = floats(2, 3, 7, 6), floats(2, 3, 9)
WHOLE = np.arange(1, 13, dtype=np.int32).reshape(3, 4) % 5
SMALLER = np.array([1, 1, 0.6, 0.7], np.float32)
EQUAL = [
    ("Resize", 10, [X4], {"mode": "nearest"}, [SMALLER]),
    ("Resize", 13, [np.abs(X4 * 50).astype(np.int32)], {"mode": "nearest"}, [None, np.array([1, 1, 2, 2], np.float32)]),
    *[("Resize", opset, [X4], {"mode": mode, "coordinate_transformation_mode": "tf_half_pixel_for_nn"},
       [np.zeros(0, np.float32), np.array(scales, np.float32)])
      for opset, mode in ((11, "nearest"), (11, "linear")) for scales in ([1, 1, 1.7, 0.6], [1, 1, 2, 3])],
    *[("Resize", 18, [X4], {"mode": mode, "axes": [2, 3], "keep_aspect_ratio_policy": policy},
       [None, None, ints(9, 5)]) for mode in ("linear", "nearest") for policy in ("not_larger", "not_smaller")],
    *[("CumSum", 14, [np.array([[1e30, 1.5, -2.5, 3.0]], np.float32)], {"exclusive": 1, "reverse": reverse},
       [np.array(1, np.int64)]) for reverse in (0, 1)],
    *[(op, 18, [np.abs(X3) * sign], {"noop_with_empty_axes": 1}, [])
      for op, sign in (("ReduceL1", -1), ("ReduceLogSum", 1), ("ReduceSumSquare", -1), ("ReduceMean", -1))],
    *[(op, 18, [WHOLE], {}, [ints(1)]) for op in ("ReduceProd", "ReduceSum", "ReduceMax", "ReduceL1")],
    ("Squeeze", 13, [floats(2, 1, 3, 1)], {}, [ints()]),
    ("ConvTranspose", 11, [X4], {"strides": [2, 2], "output_shape": [16, 14]}, [floats(3, 2, 3, 3)]),
    ("Split", 18, [X4], {"axis": 2, "num_outputs": 2}, [], 2),
    ("InstanceNormalization", 11, [floats(2, 3, 1, 1)], {"epsilon": 1.0}, [floats(3), floats(3, seed=1)]),
    ("Clip", 13, [X3], {}, [np.float32(-np.inf), np.float32(np.inf)]),
    ("BatchNormalization", 7, [X4], {"spatial": 1}, [floats(3), floats(3, seed=1), floats(3), floats(3, low=0.5)]),
    ("BatchNormalization", 15, [floats(5)], {}, [*[floats(1)] * 3, floats(1, low=0.5)]),
    ("MaxPool", 12, [X4], {"kernel_shape": [3, 2], "pads": [2, 0, 1, 1], "strides": [2, 1]}, [], 2),
    ("MaxPool", 12, [X3], {"kernel_shape": [4], "strides": [3], "ceil_mode": 1}, [], 2),
]  # fmt: skip


@pytest.mark.parametrize("row", EQUAL, ids=[f"{i}-{row[0]}-{row[1]}" for i, row in enumerate(EQUAL)])
def test_odd_nodes_give_what_onnxruntime_gives(row):
    op, opset, given, attributes, constants, *outputs = row
    model = one_node(op, given, attributes, opset, constants, *outputs)
    agreed(model, given, by_runtime(model, given), 1e-5)


@pytest.mark.parametrize("base", [np.float32(2.5), np.array([2], np.int64), np.float32([1.5])])
@pytest.mark.parametrize("power", [ints(3, 4), np.float32([0.5, 1.5, 2.5])])
def test_a_known_base_keeps_its_type(base, power):
    model = one_node("Pow", [base, power], {}, 17)
    found = run(model, [base, power], ["in0"])
    (wanted,) = by_runtime(model, [base, power])
    assert found[0].dtype == wanted.dtype
    np.testing.assert_allclose(found[0], wanted, rtol=1e-5)


def test_known_floats_are_summed_as_tensors_are():
    values = np.random.default_rng(0).uniform(0, 1, 4000).astype(np.float32)
    model = one_node("ReduceSum", [values], {}, 13)
    np.testing.assert_allclose(run(model, [values], ["in0"])[0], by_runtime(model, [values])[0], rtol=3e-7)


BEYOND = np.array([[0, 3]], np.int64)  # of 3 by 4 once flat, it is another place
FLAT = floats(3, 3)
REFUSED = [
    ("Resize", 13, [X4], {"coordinate_transformation_mode": "bogus"}, [None, SMALLER], 1, "'nearest', 'bogus'"),
    ("Resize", 13, [X4], {"nearest_mode": "bogus"}, [None, SMALLER], 1, "'bogus', which Stoker does not know"),
    ("Resize", 18, [X4], {"keep_aspect_ratio_policy": "bogus"}, [None, None, ints(2, 3, 9, 5)], 1, "aspect ratio by"),
    ("Resize", 13, [WHOLE.reshape(1, 1, 3, 4)], {"mode": "linear"}, [None, SMALLER], 1, "cast them to floats before"),
    ("ReduceMean", 18, [WHOLE], {}, [], 1, "it is of whole numbers"),
    ("ReduceLogSumExp", 18, [WHOLE], {}, [], 1, "it is of whole numbers"),
    ("Split", 18, [X4], {"axis": 2, "num_outputs": 3}, [], 2, "splits 7 values into 3 parts, with 2 outputs"),
    ("Split", 13, [X4], {"axis": 2}, [ints(3, 5)], 2, r"splits 7 values into \[3, 5\], with 2 outputs"),
    ("Split", 13, [X4], {"axis": 2}, [], 2, "splits 7 values into 2 parts"),
    ("ConvTranspose", 11, [X4], {"strides": [2, 2], "output_shape": [16, 14], "auto_pad": "SAME_UPPER"},
     [floats(3, 2, 3, 3)], 1, "is larger than the .* that its input reaches"),
    ("GlobalAveragePool", 17, [FLAT], {}, [], 1, "its input has 2 dimensions, expected rows, channels"),
    ("GlobalMaxPool", 17, [FLAT], {}, [], 1, "its input has 2 dimensions, expected rows, channels"),
    ("LpNormalization", 17, [FLAT], {"p": 3}, [], 1, "its norm is of p=3"),
    ("Squeeze", 13, [X4], {}, [ints(0)], 1, "leaves out axis 0, which has 2 values"),
    ("Unsqueeze", 13, [FLAT], {}, [ints(5)], 1, r"its axes \[5\] are not each one of 3"),
    ("Unsqueeze", 13, [FLAT], {}, [ints(1, 1)], 1, r"its axes \[1, 1\] are not each one of 4"),
    ("Slice", 13, [X4], {}, [ints(0, 0), ints(1, 2), ints(1, -3)], 1, r"its axes \[1, -3\] are not each one of 4"),
    ("Conv", 11, [X4], {"auto_pad": "BOGUS"}, [floats(4, 3, 3, 3)], 1, "it pads by 'BOGUS'"),
    ("Conv", 11, [X4], {"kernel_shape": [2, 2]}, [floats(4, 3, 3, 3)], 1, r"its kernel_shape is \[2, 2\]"),
    ("MaxPool", 12, [X4], {"kernel_shape": [2, 2], "pads": [2, 0, 0, 0]}, [], 1, r"it pads by \[2, 0\] and"),
    ("Relu", 14, [FLAT], {}, [], 2, "it has 2 outputs; ONNX has 1"),
    ("LSTM", 14, [floats(5, 3, 6)], {"hidden_size": 4, "direction": "bidirectional"},
     [floats(1, 16, 6), floats(1, 16, 4)], 1, "its direction is 'bidirectional', and its weights are of 1"),
    ("Expand", 13, [FLAT], {}, [ints(3, -1)], 1, "no size is below 0"),
    ("ConvTranspose", 22, [X4], {"strides": [3, 1], "auto_pad": "SAME_LOWER"}, [floats(3, 2, 2, 2)], 1, "is larger"),
    ("MaxPool", 22, [X3], {"kernel_shape": [2], "dilations": [2], "auto_pad": "SAME_UPPER"}, [], 1, "write pads"),
    ("Split", 18, [floats(5)], {"num_outputs": 4}, [], 4, "splits 5 values into 4 parts"),
    ("BatchNormalization", 7, [X4], {"spatial": 0}, [floats(3)] * 4, 1, "statistics of each place"),
    ("Pad", 13, [X3], {"mode": "edge"}, [ints(0, 0, 0, 0, 0, 30_000_000)], 1, "it makes 30000009 values of a few"),
    ("Resize", 13, [X3], {}, [None, np.array([1, 1, 1e8 + 0.5], np.float32)], 1, "it makes .* values of a few"),
    ("AveragePool", 19, [X3], {"kernel_shape": [1 << 28], "pads": [1 << 27, 1 + (1 << 27)]}, [], 1, "values of a few"),
]  # fmt: skip


@pytest.mark.parametrize("row", REFUSED, ids=[f"{i}-{row[0]}-{row[1]}" for i, row in enumerate(REFUSED)])
def test_what_is_not_onnx_is_refused_by_name(row):
    op, opset, given, attributes, constants, outputs, told = row
    with pytest.raises(UserError, match=rf"'out0' \({op}\): .*{told}"):
        run(one_node(op, given, attributes, opset, constants, outputs), given)


@pytest.mark.parametrize("op", ["GatherND", "ScatterND"])
@pytest.mark.parametrize("place", [(0, 3), (0, -4), (3, 0)])
def test_a_place_beyond_its_axis_is_no_other_place(op, place):
    more = [np.ones(1, np.float32)] if op == "ScatterND" else []
    with pytest.raises(UserError, match=rf"'out0' \({op}\): .*(out of|index)"):
        run(one_node(op, [FLAT, np.array([place])], {}, 16, more), [FLAT, np.array([place])])


def test_whole_numbers_over_zero_are_no_number():
    model = one_node("Div", [ints(3), ints(0)], {}, 14)
    with pytest.raises(UserError, match="it divides whole numbers by 0"):
        run(model, [ints(3), ints(0)], ["in0", "in1"])


def test_inputs_of_few_bits_are_refused_where_others_come():
    net = module_of(one_node("Identity", [np.zeros(2, np.int8)], {}, 14).SerializeToString())
    with pytest.raises(UserError, match="its input 'in0' is of int8, which columns do not have"):
        net(torch.tensor([300, 1], dtype=torch.int32))


def test_a_file_in_training_mode_is_trained_and_not_scored():
    norm = one_node("BatchNormalization", [X4], {"training_mode": 1}, 15, [floats(3)] * 4)
    drop = one_node("Dropout", [X4], {}, 13, [np.float32(0.3), np.array(True)])
    for model in (norm, drop):
        assert any("is in training mode always" in note for note in module_of(model.SerializeToString()).notes())
        with pytest.raises(UserError, match="is in training mode, and what a row gives would hang on the rows beside"):
            scoring(model.SerializeToString(), None, [], [])


def test_two_opsets_and_an_attribute_twice_are_told():
    model = one_node("Softmax", [FLAT], {"axis": 1}, 17)
    model.graph.node[0].attribute.append(helper.make_attribute("axis", 0))
    with pytest.raises(UserError, match=r"'out0' \(Softmax\) has an attribute twice: 'axis', 'axis'"):
        module_of(model.SerializeToString())
    del model.graph.node[0].attribute[1]
    model.opset_import.append(helper.make_opsetid("ai.onnx", 11))
    with pytest.raises(UserError, match="of two opsets of ONNX, 11 and 17"):
        module_of(model.SerializeToString())


@pytest.mark.parametrize(("kind", "values"), [("UINT8", [300]), ("BOOL", [2]), ("FLOAT16", [70_000]), ("INT8", [-200])])
def test_numbers_that_a_type_does_not_hold_are_told(kind, values):
    model = one_node("Identity", [FLAT], {}, 17)
    weight = model.graph.initializer.add(name="w", data_type=getattr(onnx.TensorProto, kind), dims=[len(values)])
    weight.int32_data.extend(values)
    module_of(model.SerializeToString())  # nobody reads it
    model.graph.node[0].input[0] = "w"
    with pytest.raises(UserError, match=f"the weight 'w' has numbers that {kind.lower()} does not hold"):
        module_of(model.SerializeToString())


@pytest.mark.parametrize("dims", [[0, 1 << 62], [1] * 70])
def test_shapes_that_no_tensor_has_are_told(dims):
    model = one_node("Identity", [FLAT], {}, 17)
    model.graph.initializer.add(name="w", data_type=1, dims=dims)
    model.graph.node[0].input[0] = "w"
    with pytest.raises(UserError, match=r"the weight 'w' has the shape .* which no tensor has"):
        module_of(model.SerializeToString())


@pytest.mark.parametrize(("op", "constants"), [
    ("Range", [np.array(0), np.array(10**12), np.array(1)]), ("Tile", [np.zeros(2, np.float32), ints(10**12)]),
    ("Expand", [np.zeros(1, np.float32), ints(10**12)]), ("ConstantOfShape", [ints(10**12)]),
])  # fmt: skip
def test_constants_that_fill_the_memory_are_refused(op, constants):
    with pytest.raises(UserError, match=rf"'out0' \({op}\) makes \d+ values of constants alone"):
        module_of(one_node(op, [], {}, 17, constants).SerializeToString())


def normed(nodes, **constants):
    """x of 3 channels through these nodes to y."""
    inputs = [helper.make_tensor_value_info("x", 1, ["n", 3, 4, 4])]
    kept = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", 1, None)], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_statistics_that_are_written_once_are_each_norms_own():
    """Zeros are a bias and two means, of which one is moved, and ones a scale and two variances."""
    zeros, ones = np.zeros(3, np.float32), np.ones(3, np.float32)
    nodes = [helper.make_node("BatchNormalization", [name, "ones", "zeros", "zeros", "ones"], [made])
             for name, made in (("x", "a"), ("a", "y"))]  # fmt: skip
    nodes[1].input[3] = "moved"
    nodes.insert(0, helper.make_node("Identity", ["zeros"], ["moved"]))
    net, x = module_of(normed(nodes, zeros=zeros, ones=ones).SerializeToString()), torch.from_numpy(floats(4, 3, 4, 4))
    net(x).square().sum().backward()
    assert {name for name, _ in net.named_parameters()} == {"zeros", "ones"}
    state = net.state_dict()
    own = {"a.running_mean", "a.running_var", "y.running_mean", "y.running_var"}
    assert own <= state.keys() and not torch.equal(state["a.running_mean"], state["y.running_mean"])


def test_statistics_that_are_moved_are_kept_in_the_state():
    nodes = [helper.make_node("Identity", ["mu"], ["mean"]),
             helper.make_node("BatchNormalization", ["x", "s", "b", "mean", "var"], ["y"])]  # fmt: skip
    net = module_of(normed(nodes, mu=floats(3), s=floats(3), b=floats(3, seed=1), var=floats(3, low=0.5)
                           ).SerializeToString())  # fmt: skip
    assert {"mean", "var"} <= net.state_dict().keys()


def test_masks_of_zeros_and_ones_are_no_weights_and_others_are_told():
    nodes = [helper.make_node("Mul", ["x", "mask"], ["a"]), helper.make_node("Add", ["a", "grid"], ["y"])]
    net = module_of(normed(nodes, mask=np.float32([1, 0, 1, 1]), grid=floats(4)).SerializeToString())
    assert [name for name, _ in net.named_parameters()] == ["grid"]
    assert any("its constant 'grid' is added or multiplied, though not to a product" in note for note in net.notes())


@pytest.mark.parametrize(("op", "attributes"), [
    ("ReduceL2", {"axes": [1]}), ("LpNormalization", {"axis": 1}), ("MeanVarianceNormalization", {"axes": [1]}),
])  # fmt: skip
def test_the_norm_of_zeros_has_a_gradient(op, attributes):
    x = torch.zeros(2, 3, requires_grad=True)
    net = module_of(one_node(op, [np.zeros((2, 3), np.float32)], attributes, 13).SerializeToString())
    net(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_float16_is_refused_when_it_is_compiled():
    class Half(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x)

    model = one_node("Mul", [floats(2, 3).astype(np.float16)], {}, 14, [np.float16([1, 2, 3])])
    with pytest.raises(UserError, match=r"'out0' \(Mul\): it is of float16, which the engine does not compute"):
        torch.export.export(Half(module_of(model.SerializeToString())), (torch.zeros(2, 3),))
