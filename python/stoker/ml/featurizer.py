"""StokerFeaturizer: the values of a layer inside of a model, as a column of vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stoker.errors import UserError
from stoker.fit import compiling, layout, slicing
from stoker.fit.checks import check_model
from stoker.fit.settings import naming_of
from stoker.ml.accessors import FeaturizerAccessors
from stoker.ml.params import FeaturizerParams, documented
from stoker.ml.running import Running
from stoker.ml.scoring import Inferred
from stoker.spark.outputs import Values
from stoker.spark.table import Table


@documented
class StokerFeaturizer(FeaturizerAccessors, Running, FeaturizerParams):
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

    WHAT = "featurizer"
    MODELS = ("model",)
    COLUMNS = "outputCol"
    DECIDES = ("layer", "inputs", "featuresCols", "inputTypes", "inputShape")

    def __init__(self, **params: Any) -> None:
        super().__init__()
        self._setDefault(outputCol="vector")
        self.setParams(**params)

    def _ready(self) -> StokerFeaturizer:
        """With those of the model, where it has some of its own."""
        model = self.value("model")
        if not hasattr(model, "_compiled") or any(map(self.isSet, ("inputs", "featuresCol", "featuresCols"))):
            return self
        names = ("inputs", "featuresCol", "featuresCols", "inputTypes", "inputShape", "transformGroup")
        given = {self.getParam(name): model.value(name) for name in names if model.isSet(name)}
        return self.copy({param: value for param, value in given.items() if not self.isSet(param)})

    def _added(self) -> dict[str, str]:
        return {"outputCol": self.value("outputCol")}

    def _outputs(self, made: Inferred) -> Values:
        (output,) = made.infer["outputs"]
        return Values((self.value("outputCol"),), (slicing.size_of(output),), vectors=True)

    def _compile(self, table: Table | None) -> tuple[dict[str, Any], Mapping[str, Any]]:
        model, layer = self.value("model"), self.value("layer")
        if not layer:
            raise UserError("layer is not set: name the layer whose values are wanted")
        if hasattr(model, "_compiled"):
            return slicing.of_fitted(model, layer)
        module = _module(model)
        naming = naming_of(self)
        compiling.check_inputs(module, naming.input_names)
        self._check_complete()
        return slicing.of_module(module, layer, layout.features(naming, table, module))


def _module(model: Any) -> Any:
    if compiling.is_model_file(model):
        model = compiling.loaded(model)
    check_model(model)
    if not compiling.is_model(model):
        raise UserError(f"model is a {type(model).__name__}; give a torch.nn.Module, a Keras model, or what fit() or "
                        "load() gave")  # fmt: skip
    return compiling.as_torch(model)
