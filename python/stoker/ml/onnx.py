"""StokerOnnxModel: an ONNX graph, scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stoker.errors import UserError
from stoker.fit import compiling, layout, slicing
from stoker.fit.settings import naming_of
from stoker.ml.accessors import OnnxAccessors
from stoker.ml.params import OnnxParams, documented
from stoker.ml.running import Running, version_of
from stoker.ml.scoring import Inferred
from stoker.spark import checks
from stoker.spark.outputs import Values
from stoker.spark.table import Table


@documented
class StokerOnnxModel(OnnxAccessors, Running, OnnxParams):
    """Adds what an ONNX graph gives for a row: its outputs or tensors inside of it, their softmax, their classes.

    Parameters are named as those of SynapseML's ONNXModel. A column is a double where a row has one value, else a
    vector of its values in row-major order. The graph is compiled when it is first needed; it is run by Stoker's
    engine, as a model of its own is, and the workers need no ONNX.

    Example:
        >>> from tempfile import mkdtemp
        >>> from pyspark.sql import SparkSession
        >>> from torch import nn
        >>> from stoker import StokerClassifier, StokerOnnxModel
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> rows = spark.range(40).selectExpr("array(id / 40, 1 - id / 40) as features", "int(id >= 20) as label")
        >>> path = f"{mkdtemp()}/net.onnx"
        >>> StokerClassifier(model=nn.Linear(2, 2), verbose=0).fit(rows).onnx(path)
        >>> scorer = StokerOnnxModel(modelLocation=path, feedDict={"features": "features"},
        ...                          fetchDict={"raw": "output"}, argMaxDict={"raw": "prediction"})
        >>> scorer.transform(rows).columns
        ['features', 'label', 'raw', 'prediction']
    """

    WHAT = "ONNX model"
    MODELS = ("modelLocation", "modelPayload")
    COLUMNS = "fetchDict"
    DECIDES = ("feedDict", "fetchDict", "softMaxDict", "argMaxDict", "inputs", "featuresCols", "inputTypes",
               "inputShape")  # fmt: skip

    def __init__(self, **params: Any) -> None:
        super().__init__()
        self._read: tuple[Any, Any] | None = None  # the graph, and of what it is
        self.setParams(**params)

    def _ready(self) -> StokerOnnxModel:
        """With the names of the program's inputs in the place of the file's."""
        if self._is_loaded():
            return self
        feeds = self.value("feedDict")
        for name in ("inputs", "featuresCol", "featuresCols"):
            if feeds is not None and self.isSet(name):
                raise UserError(f"feedDict and {name} both say what the inputs are: set one of them")
        told = {"inputs": feeds if feeds is not None else self.value("inputs")}
        told |= {name: self.value(name) for name in ("inputShape", "inputTypes")}
        by_name = {name: value for name, value in told.items() if isinstance(value, Mapping)}
        if not by_name:
            return self
        from stoker.frontend.onnx import scoring

        graph = self._graph()
        params = {"inputs": "feedDict" if feeds is not None else "inputs"}
        return self.copy({self.getParam(name): scoring.fed(graph, value, params.get(name, name))
                          for name, value in by_name.items()})  # fmt: skip

    def _graph(self) -> Any:
        """Read when it is first needed, or anew when a parameter has changed."""
        from stoker.frontend.onnx import scoring

        given = [self.value(name) for name in self.MODELS if self.isSet(name)]
        if len(given) != 1:
            raise UserError("set modelLocation, the path of an ONNX file, or modelPayload, the bytes of one, and not "
                            "both")  # fmt: skip
        columns = [self.value(name) or {} for name in ("fetchDict", "softMaxDict", "argMaxDict")]
        key = (version_of(given[0]), repr(columns))
        if self._read is None or self._read[0] != key:
            fetched, softmax, classes = columns
            _check_columns(fetched, softmax, classes)
            made = scoring.scoring(given[0], list(fetched.values()) or None, [fetched[one] for one in softmax],
                                   [fetched[one] for one in classes])  # fmt: skip
            self._read = key, made
        return self._read[1]

    def _compile(self, table: Table | None) -> tuple[dict[str, Any], Mapping[str, Any]]:
        graph, naming = self._graph(), naming_of(self)
        compiling.check_inputs(graph, naming.input_names)
        self._check_complete()
        infer, weights = slicing.of_module(graph, None, layout.features(naming, table, graph))
        outputs = [{**entry, "name": name} for entry, name in zip(infer["outputs"], self._columns(graph.graph_outputs))]
        return {**infer, "outputs": outputs}, weights

    def _columns(self, outputs: Sequence[str]) -> list[str]:
        """That are added, in the order of the program's outputs."""
        more = [*(self.value("softMaxDict") or {}).values(), *(self.value("argMaxDict") or {}).values()]
        fetched = self.value("fetchDict")
        return [*(fetched if fetched else outputs[: len(outputs) - len(more)]), *more]

    def _added(self) -> dict[str, str]:
        found = {f"fetchDict[{name!r}]": name for name in self.value("fetchDict") or {}}
        for param in ("softMaxDict", "argMaxDict"):
            found |= {f"{param}[{name!r}]": column for name, column in (self.value(param) or {}).items()}
        checks.check_distinct(found.values())
        return found

    def _outputs(self, made: Inferred) -> Values:
        outputs = made.infer["outputs"]
        return Values(tuple(entry["name"] for entry in outputs), tuple(map(slicing.size_of, outputs)))


def _check_columns(fetched: Mapping[str, str], softmax: Mapping[str, str], classes: Mapping[str, str]) -> None:
    for param, told in (("softMaxDict", softmax), ("argMaxDict", classes)):
        for name in told:
            if name not in fetched:
                known = ", ".join(map(repr, fetched)) or "none, as it is not set"
                raise UserError(f"{param}: there is no column {name!r} among those of fetchDict: {known}")
    twice = [name for name in fetched.values() if list(fetched.values()).count(name) > 1]
    if twice:
        raise UserError(f"fetchDict has {twice[0]!r} in two columns: take one of them")
