"""StokerFeaturizer: the values of a layer inside of a model, as a column of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyspark.ml import Transformer
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame

from stoker import program
from stoker.errors import UserError
from stoker.fit import compiling, layout, slicing
from stoker.fit.checks import check_model
from stoker.fit.settings import naming_of
from stoker.inputs.declarations import items_of
from stoker.inputs.declared import Declared
from stoker.ml import persist
from stoker.ml.accessors import FeaturizerAccessors
from stoker.ml.params import FeaturizerParams, documented
from stoker.ml.scoring import Inferred, scored
from stoker.spark import checks
from stoker.spark.outputs import Values
from stoker.spark.table import Table
from stoker.spark.weights import carried

_DECIDES = ("layer", "inputs", "featuresCols", "inputTypes", "inputShape")  # beside the model, what is compiled


@documented
class StokerFeaturizer(FeaturizerAccessors, Transformer, FeaturizerParams, MLReadable, MLWritable):
    """Adds what a layer inside of a model gives for a row, in evaluation mode, as a vector in row-major order: the
    features that a pretrained network has found, for another learner.

    The model is one of torch, of Keras, or of Stoker, whose inputs are then what they were for it. It is compiled when
    it is first needed, as it is then; frozen, never changed.

    Example:
        >>> from pyspark.ml import Pipeline
        >>> from pyspark.ml.classification import DecisionTreeClassifier
        >>> from pyspark.sql import SparkSession
        >>> from torch import nn
        >>> from stoker import StokerFeaturizer
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> rows = spark.range(40).selectExpr("array(id / 40, 1 - id / 40) as features", "int(id >= 20) as label")
        >>> net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 100))
        >>> featurizer = StokerFeaturizer(model=net, layer="1", outputCol="found")
        >>> len(featurizer.transform(rows).first().found)
        8
        >>> top = DecisionTreeClassifier(featuresCol="found")
        >>> Pipeline(stages=[featurizer, top]).fit(rows).transform(rows).where("label = prediction").count() > 30
        True
    """

    def __init__(self, **params: Any) -> None:
        super().__init__()
        self._setDefault(outputCol="vector")
        self._saved: Inferred | None = None  # of one that was loaded
        self._made: tuple[Any, Inferred] | None = None  # what was compiled, and of what
        self._compiled_in: dict[str, Any] = {}  # params of what was loaded, which cannot change any more
        self.setParams(**params)

    def _transform(self, df: DataFrame) -> DataFrame:
        checks.check_dataframe(df, "transform")
        table = Table.of(df)
        checks.check_absent(table, {"outputCol": self.value("outputCol")})
        told = self._with_inputs()
        made = told._inferred(table)
        self._made = told._made
        return scored(told, table, df, made, told._outputs(made))

    def _with_inputs(self) -> StokerFeaturizer:
        """With those of the model, where it has some of its own."""
        model = self.value("model")
        if not hasattr(model, "_compiled") or any(map(self.isSet, ("inputs", "featuresCol", "featuresCols"))):
            return self
        names = ("inputs", "featuresCol", "featuresCols", "inputTypes", "inputShape", "transformGroup")
        given = {self.getParam(name): model.value(name) for name in names if model.isSet(name)}
        return self.copy({param: value for param, value in given.items() if not self.isSet(param)})

    def _outputs(self, made: Inferred) -> Values:
        (output,) = made.infer["outputs"]
        return Values((self.value("outputCol"),), (slicing.size_of(output),), vectors=True)

    def _inferred(self, table: Table | None) -> Inferred:
        """Compiled when first asked for, or anew when a parameter has changed."""
        if self._saved is not None and not self.isSet("model"):
            self._check_as_saved()
            return self._saved
        key = (id(self.value("model")), *[repr(self.value(name)) for name in _DECIDES])
        if self._made is None or self._made[0] != key:
            infer, weights = self._compile(table)
            self._made = key, Inferred(infer, carried(program.save_weights(weights)))
        return self._made[1]

    def _compile(self, table: Table | None) -> tuple[dict[str, Any], Mapping[str, Any]]:
        model, layer = self.value("model"), self.value("layer")
        if not layer:
            raise UserError("layer is not set: name the layer whose values are wanted")
        if hasattr(model, "_compiled"):
            return slicing.of_fitted(model, layer)
        module = _module(model)
        naming = naming_of(self)
        compiling.check_inputs(module, naming.input_names)
        _check_complete(self.value("inputs") or {})
        return slicing.of_module(module, layer, layout.features(naming, table, module))

    def _check_as_saved(self) -> None:
        for name, was in self._compiled_in.items():
            if self.value(name) != was:
                raise UserError(f"this featurizer was loaded; it was compiled with {name}={was!r}. To change that, set "
                                "model too")  # fmt: skip

    def write(self) -> FeaturizerWriter:
        return FeaturizerWriter(self)

    @classmethod
    def read(cls) -> FeaturizerReader:
        return FeaturizerReader(cls)


class FeaturizerWriter(persist.Writer):
    """A featurizer is saved as its compiled program, so the shape of its input must be known, or it has transformed
    rows."""

    def content(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        told = self.instance._with_inputs()
        made = told._inferred(None)
        self.instance = told = told.copy()
        told.clear(told.model)
        return {**slicing.to_files(made.infer, made.weights.data), **persist.declared_inputs(told)}, {}


class FeaturizerReader(persist.StokerReader):
    def _estimator(self, path: str, files: Mapping[str, bytes], metadata: Mapping[str, Any]) -> Any:
        instance = self.cls()
        infer, weights = persist.readable(path, slicing.from_files, files)
        instance._saved = Inferred(infer, carried(weights))
        return instance

    def compiled_in(self) -> tuple[str, ...]:
        return _DECIDES


def _module(model: Any) -> Any:
    if compiling.is_keras_file(model):
        model = compiling.loaded(model)
    check_model(model)
    if not compiling.is_model(model):
        raise UserError(f"model is a {type(model).__name__}; give a torch.nn.Module, a Keras model, or what fit() or "
                        "load() gave")  # fmt: skip
    return compiling.as_torch(model)


def _check_complete(inputs: Mapping[str, Any]) -> None:
    for name, entry in inputs.items():
        for item in items_of(entry):
            if isinstance(item, Declared) and item.learner is not None:
                raise UserError(f"inputs['{name}']: {item} learns from rows, and a featurizer learns nothing: give "
                                "inputs=stoker.inputs.learn(df, inputs)")  # fmt: skip
