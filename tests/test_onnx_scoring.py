"""StokerOnnxModel scores any graph, with SynapseML's names, by the engine's own programs."""

import warnings

import numpy as np
import pytest
from pyspark.ml import Pipeline, PipelineModel

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from conftest import blobs, table  # noqa: E402
from stoker import StokerClassifier, StokerOnnxModel, from_onnx  # noqa: E402
from stoker.errors import UserError  # noqa: E402


@pytest.fixture(scope="module")
def payload():
    """Two layers; input "data:0", inner tensor "hidden", output "logits"."""
    rng = np.random.default_rng(0)
    constants = {"w1": rng.normal(0, 1, (4, 6)), "b1": rng.normal(0, 1, 6), "w2": rng.normal(0, 1, (6, 3))}
    nodes = [helper.make_node("Gemm", ["data:0", "w1", "b1"], ["sum"]), helper.make_node("Relu", ["sum"], ["hidden"]),
             helper.make_node("MatMul", ["hidden", "w2"], ["logits"]),
             helper.make_node("NonZero", ["hidden"], ["unused"])]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("data:0", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(values.astype("f"), name) for name, values in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@pytest.fixture(scope="module")
def wanted(payload):
    model = onnx.load_from_string(payload)
    model.graph.output.append(helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["n", 6]))
    del model.graph.node[-1]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits, hidden = session.run(None, {"data:0": blobs(40)[0]})
    return {"logits": logits, "hidden": hidden}


@pytest.fixture
def rows(spark):
    return table(spark, *blobs(40))


def column(df, name):
    values = [row[name] for row in df.select(name).collect()]
    return np.array([one.toArray() if hasattr(one, "toArray") else one for one in values])


def test_outputs_go_by_their_names(payload, rows, wanted, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(payload)
    for scorer in (StokerOnnxModel(modelPayload=payload), StokerOnnxModel(modelLocation=str(path))):
        scored = scorer.transform(rows)
        assert scored.columns == [*rows.columns, "logits"]
        np.testing.assert_allclose(column(scored, "logits"), wanted["logits"], rtol=1e-5, atol=1e-5)


@pytest.fixture
def scorer(payload):
    return StokerOnnxModel(modelPayload=payload, feedDict={"data:0": "features"},
                           fetchDict={"raw": "logits", "inner": "hidden"}, softMaxDict={"raw": "probability"},
                           argMaxDict={"raw": "prediction"})  # fmt: skip


def check(scored, wanted):
    up = np.exp(wanted["logits"])
    np.testing.assert_allclose(column(scored, "raw"), wanted["logits"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(column(scored, "inner"), wanted["hidden"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(column(scored, "probability"), up / up.sum(1, keepdims=True), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(column(scored, "prediction"), wanted["logits"].argmax(1))


def test_inner_tensors_softmax_and_classes(scorer, rows, wanted):
    scored = scorer.transform(rows)
    assert scored.columns == [*rows.columns, "raw", "inner", "probability", "prediction"]
    assert dict(scored.dtypes)["prediction"] == "double"
    check(scored, wanted)


def test_saved_alone_and_in_a_pipeline(scorer, rows, wanted, tmp_path):
    scorer.save(f"{tmp_path}/scorer")
    loaded = StokerOnnxModel.load(f"{tmp_path}/scorer")
    assert loaded.getFetchDict() == {"raw": "logits", "inner": "hidden"}
    check(loaded.transform(rows), wanted)
    model = Pipeline(stages=[scorer]).fit(rows)
    model.save(f"{tmp_path}/pipeline")
    check(PipelineModel.load(f"{tmp_path}/pipeline").transform(rows), wanted)
    with pytest.raises(UserError, match=r"this ONNX model was loaded; it was compiled with argMaxDict=.* set modelLoc"):
        loaded.setArgMaxDict({"inner": "prediction"}).transform(rows)


@pytest.mark.parametrize(("change", "told"), [
    ({"feedDict": {"data": "features"}}, "feedDict: the ONNX model has no input 'data'; did you mean 'data:0'?"),
    ({"fetchDict": {"raw": "hiden"}}, "the ONNX model has no tensor 'hiden'; did you mean 'hidden'?"),
    ({"softMaxDict": {"row": "p"}}, "softMaxDict: there is no column 'row' among those of fetchDict: 'raw', 'inner'"),
    ({"fetchDict": {"raw": "logits", "more": "logits"}}, "fetchDict has 'logits' in two columns: take one of them"),
    ({"argMaxDict": {"raw": "label"}}, "argMaxDict['raw']='label': the DataFrame has a column of this name already"),
    ({"modelLocation": "net.onnx"}, "set modelLocation, the path of an ONNX file, or modelPayload, the bytes of one"),
    ({"modelPayload": None}, "set modelLocation, the path of an ONNX file, or modelPayload, the bytes of one"),
    ({"inputs": {"data:0": "features"}}, "feedDict and inputs both say what the inputs are: set one of them"),
])  # fmt: skip
def test_what_does_not_fit_the_graph_is_told(scorer, rows, change, told):
    with pytest.raises(UserError) as caught:
        scorer.setParams(**change).transform(rows)
    assert told in str(caught.value)


def test_shapes_and_types_go_by_the_names_of_the_file_too(payload, rows, wanted):
    scorer = StokerOnnxModel(modelPayload=payload, feedDict={"data:0": "features"}, inputShape={"data:0": [4]})
    np.testing.assert_allclose(column(scorer.transform(rows), "logits"), wanted["logits"], rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match=r"inputTypes: the ONNX model has no input 'date:0'; did you mean 'data:0'"):
        scorer.setInputTypes({"date:0": "float32"}).transform(rows)


def test_an_operator_that_is_not_known_matters_only_where_it_is_needed(payload, rows):
    with pytest.raises(UserError, match="operators that Stoker does not know: 'unused'"):
        StokerOnnxModel(modelPayload=payload, fetchDict={"places": "unused"}).transform(rows)


def test_a_file_that_is_written_anew_is_read_anew(payload, rows, wanted, tmp_path):
    path = tmp_path / "net.onnx"
    path.write_bytes(payload)
    scorer = StokerOnnxModel(modelLocation=str(path))
    scorer.transform(rows)
    other = onnx.load_from_string(payload)
    other.graph.node[2].op_type, other.graph.node[2].input[:] = "Gemm", ["hidden", "w2", "more"]
    other.graph.initializer.append(numpy_helper.from_array(np.full(3, 5, "f"), "more"))
    path.write_bytes(other.SerializeToString())
    np.testing.assert_allclose(column(scorer.transform(rows), "logits"), wanted["logits"] + 5, rtol=1e-5, atol=1e-5)


def test_statistics_and_weights_of_equal_values_are_trained_apart(rows):
    """Zeros are a bias and two means; a norm of rows has a gradient in the engine too."""
    nodes = [helper.make_node("BatchNormalization", [name, "ones", "zeros", "zeros", "ones"], [made])
             for name, made in (("x", "a"), ("b", "c"))]  # fmt: skip
    nodes[1:1] = [helper.make_node("LpNormalization", ["a"], ["b"], axis=1)]
    nodes.append(helper.make_node("MatMul", ["c", "w"], ["y"]))
    values = {"zeros": np.zeros(4), "ones": np.ones(4), "w": np.random.default_rng(0).normal(0, 1, (4, 3))}
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(one.astype("f"), name) for name, one in values.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = StokerClassifier(model=from_onnx(model.SerializeToString()), epochs=2, verbose=0).fit(rows)
    state = fitted.torch().state_dict()
    assert all(bool(value.isfinite().all()) for value in state.values())
    assert not np.allclose(state["a.running_mean"], state["c.running_mean"])
