"""What an ONNX file may say and exporters hardly do: it gives onnxruntime's values, or is refused by name."""

import numpy as np
import pytest

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
    with pytest.raises(RuntimeError, match=rf"'out0' \({op}\): .*(out of|index)"):
        run(one_node(op, [FLAT, np.array([place])], {}, 16, more), [FLAT, np.array([place])])


def test_whole_numbers_over_zero_are_no_number():
    model = one_node("Div", [ints(3), ints(0)], {}, 14)
    with pytest.raises(UserError, match="it divides whole numbers by 0"):
        run(model, [ints(3), ints(0)], ["in0", "in1"])


def test_inputs_of_few_bits_are_refused_where_others_come():
    import torch

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
