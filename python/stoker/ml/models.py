"""What a fit gives: a transformer that adds predictions, and the way back to torch."""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pyspark.ml import Model
from pyspark.ml.classification import ProbabilisticClassificationModel
from pyspark.ml.linalg import DenseVector
from pyspark.ml.param.shared import HasLabelCol, HasPredictionCol
from pyspark.ml.regression import RegressionModel
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame, SparkSession

from stoker import evaluation, program
from stoker.errors import UserError
from stoker.evaluation import as_metrics
from stoker.fit import layout
from stoker.fit.settings import naming_of
from stoker.history import History
from stoker.ml import persist, rows
from stoker.ml.accessors import ClassificationModelAccessors, ModelAccessors, RegressionModelAccessors
from stoker.ml.added import added_columns, columns_of_outputs
from stoker.ml.params import ClassifierOutputs, InputParams, NamedTensors, with_accessors
from stoker.ml.scoring import Inferred, scored
from stoker.ml.summary import Summary, parameters_of, summary_of
from stoker.optimizer_state import OptimizerState
from stoker.program import Compiled
from stoker.spark import checks, columns, grouping
from stoker.spark.evaluate import evaluated
from stoker.spark.infer import Scorer
from stoker.spark.outputs import Classification, Outputs, Values
from stoker.spark.table import Table
from stoker.spark.weights import carried


class _StokerModel(Model, HasLabelCol, InputParams, HasPredictionCol, MLReadable, MLWritable):
    """What all three share. `module` is the user's own, where it is known in this session."""

    def __init__(self, compiled: Compiled, history: History | None = None, output_kind: str | None = None,
                 module: Any = None) -> None:  # fmt: skip
        super().__init__()
        self._compiled = compiled
        self._history = history if history is not None else History()
        self._output_kind = output_kind
        self._module = module
        self._packed: Inferred | None = None
        self.keras_config: str | None = None  # of a Keras model, where it is known
        self._label_rules: dict[str, Any] | None = None  # what the engine checks of labels, where it is known
        self._optimizer: OptimizerState | None = None  # with saveOptimizer

    def _outputs(self) -> Outputs:
        raise NotImplementedError

    def _check_added(self, table: Table | None = None) -> None:
        """The columns that transform adds differ from each other, and from those of the table."""
        added = added_columns(self, list(self._compiled.output_shapes))
        if table is not None:
            checks.check_absent(table, added)

    @property
    def history(self) -> History:
        """Per epoch: loss, accuracy, rows/s, seconds by phase, bytes moved, what bounded it."""
        return self._history

    @property
    def output_kind(self) -> str | None:
        """What a classifier's module gives, as it was compiled: 'logits', 'probabilities' or 'logProbabilities'."""
        return self._output_kind

    def without_optimizer(self) -> Any:
        """A copy without what saveOptimizer keeps: as initialModel it begins a fit with a new optimizer."""
        model = self.copy()
        model._optimizer = None
        return model

    def summary(self) -> Summary:
        """Layers, their parameters and shapes, sizes; prints as a table."""
        return summary_of(self._compiled, f"{type(self).__name__} ({self.uid})")

    def __repr__(self) -> str:
        sizes = {"numClasses": getattr(self, "numClasses", None), "numFeatures": self.numFeatures,
                 "parameters": parameters_of(self._compiled)}  # fmt: skip
        told = ", ".join(f"{name}={size}" for name, size in sizes.items() if size is not None)
        return f"{type(self).__name__}: uid={self.uid}, {told}"

    @property
    def numFeatures(self) -> int:
        """Values of one row, over all inputs."""
        return sum(math.prod(entry["shape"]) for entry in self._compiled.infer["inputs"])

    def _transform(self, df: DataFrame) -> DataFrame:
        checks.check_dataframe(df, "transform")
        naming_of(self)  # its errors
        table = Table.of(df)
        self._check_added(table)
        return scored(self, table, df, self._inferred(), self._outputs())

    def evaluate(self, df: DataFrame, metrics: Sequence[str] | None = None,
                 weightCol: str | None = None, groupCol: str | None = None) -> dict[str, Any]:  # fmt: skip
        """The loss and metrics (default: those of the fit's evaluations) of any rows with labels, by name: what
        docs/validation.md says of rows that are held out. Needs a fit with such rows, or with evalMetrics set."""
        checks.check_dataframe(df, "evaluate")
        checks.check_ends(df, "evaluate")
        program_ = self._compiled.evaluation
        if program_ is None:
            raise UserError("this model was fit without rows held out for validation, so it cannot be evaluated: set "
                            "evalMetrics on the estimator, or validationFraction")  # fmt: skip
        table = Table.of(df)
        names = self._metrics_to_tell(program_, metrics)
        sources = layout.sources_of_evaluation(naming_of(self), table, program_["inputs"], weightCol,
                                               groupCol)  # fmt: skip
        found = evaluation.of_program(program_, names)
        sent = columns.travelling(table, sources)
        return evaluated(df, json.dumps(found), [source.spec() for source in sources], sent,
                         program.save_weights(self._compiled.weights))  # fmt: skip

    def _metrics_to_tell(self, program_: dict[str, Any], metrics: Sequence[str] | None) -> list[str]:
        told = self._metrics_of_fit() if metrics is None else [metrics] if isinstance(metrics, str) else metrics
        own = evaluation.own_names(program_)
        return as_metrics([f"{evaluation.SAVED}{name}" if name in own else name for name in told])

    def _metrics_of_fit(self) -> list[str]:
        told = self._history[-1] if self._history else {}
        return [name.removeprefix("val_") for name in told if name.startswith("val_") and name != "val_loss"]

    def _inferred(self) -> Inferred:
        if self._packed is None:
            weights = {name: self._compiled.weights[name] for name in _names_in(self._compiled.infer)}
            self._packed = Inferred(self._compiled.infer, carried(program.save_weights(weights)))
        return self._packed

    def _answer(self, value: Any, outputs: Outputs) -> list[Any]:
        """Of one row that is here, as values of the outputs' columns."""
        if place := self._compiled.infer.get("coupled"):
            raise UserError(f"{grouping.told(place)}: use transform, with transformGroup")
        sources = layout.features_of_program(naming_of(self), None, self._compiled.infer["inputs"])
        return rows.answer(self._inferred().here(outputs), sources, value)

    def _scorer(self, spark: SparkSession) -> Scorer:
        return self._inferred().scorer(spark, self._outputs())

    def torch(self, into: Any = None) -> Any:
        """The trained model as a torch.nn.Module: `into`, filled; else a copy of the user's module, where this session
        knows it; else one that runs the inference program, and trains only where the training program does the same."""
        from stoker.frontend.foreign import is_keras

        if into is not None:
            return _fill(into, self._compiled.state(), exact=True)
        if self._module is not None and not is_keras(self._module):
            return _fill(copy.deepcopy(self._module), self._compiled.state(), exact=False)
        from stoker.frontend.module import ProgramModule

        return ProgramModule(self._compiled.infer, self._compiled.given(), self._compiled.train).eval()

    def onnx(self, path: str | os.PathLike[str], opset: int | None = None) -> None:
        """Writes what transform computes (the model's own outputs, of any number of rows) as an ONNX file, with the
        names of its inputs, outputs and weights; `opset`: version of ONNX's operators (default: the exporter's)."""
        from stoker.export.onnx import write

        compiled = self._compiled
        given = compiled.given()
        write(compiled.infer, {name: given[name] for name in _names_in(compiled.infer)}, path, opset)

    def keras(self, into: Any = None) -> Any:
        """The trained model as a Keras model: `into`, filled; else one made from the configuration of that which was
        fit."""
        from stoker.frontend.foreign import is_keras

        if into is not None and not is_keras(into):
            raise UserError(f"into is a {type(into).__name__}; keras(into=...) fills a Keras 3 model")
        config = self._keras_config()
        if config is None:
            raise UserError("the model that was fit is no Keras model; torch() gives it back")
        from stoker.frontend.keras import back

        target = into if into is not None else back.made(config, self._module)
        return back.filled(target, self._compiled.state(), config)

    def _keras_config(self) -> str | None:
        """The configuration of the Keras model that was fit, as JSON."""
        from stoker.frontend.foreign import is_keras

        if self.keras_config is None and is_keras(self._module):
            from stoker.frontend.keras import back

            self.keras_config = back.config_of(self._module)
        return self.keras_config

    def _own_files(self) -> dict[str, bytes]:
        """What a subclass keeps beside what all have, by name."""
        return {}

    def _take_own_files(self, files: Mapping[str, bytes]) -> None:
        """Of a model that was loaded."""

    def write(self) -> persist.ModelWriter:
        return persist.ModelWriter(self)

    @classmethod
    def read(cls) -> persist.StokerReader:
        return persist.StokerReader(cls)


def checked_thresholds(told: Sequence[float] | None, classes: int) -> tuple[float, ...]:
    """As Spark wants them: one for each class, none negative, and at most one 0."""
    thresholds = tuple(told or ())
    if thresholds and len(thresholds) != classes:
        raise UserError(f"thresholds has {len(thresholds)} values, and there are {classes} classes: give one for each")
    if any(not one >= 0 for one in thresholds) or thresholds.count(0) > 1:
        raise UserError(f"thresholds must not be negative, and at most one may be 0, not {list(thresholds)}")
    return thresholds


def _names_in(infer: dict[str, Any]) -> list[str]:
    return [entry["name"] for part in ("parameters", "buffers", "constants") for entry in infer[part]]


def _fill(module: Any, state: dict[str, np.ndarray], exact: bool) -> Any:
    """Loads `state` into the module. Names that only one side has are an error; without `exact` the module may have
    more."""
    import torch

    tensors = {name: torch.from_numpy(np.array(values)) for name, values in state.items()}
    try:
        missing, unexpected = module.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise UserError(f"the module does not fit the trained weights: {error}") from error
    if unexpected or (exact and missing):
        raise UserError(
            f"the module's names do not fit the trained weights: it lacks [{', '.join(unexpected)}], "
            f"and the weights lack [{', '.join(missing)}]"
        )
    return module


@with_accessors
class StokerClassificationModel(
    ClassificationModelAccessors, _StokerModel, ClassifierOutputs, ProbabilisticClassificationModel
):
    """What StokerClassifier.fit gives: adds rawPrediction and probability (vectors) and prediction (double).

    Example:
        >>> from tempfile import mkdtemp
        >>> from pyspark.sql import SparkSession
        >>> from torch import nn
        >>> from stoker import StokerClassificationModel, StokerClassifier
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> train = spark.range(40).selectExpr("array(id / 40, 1 - id / 40) as features", "int(id >= 20) as label")
        >>> model = StokerClassifier(model=nn.Linear(2, 2), epochs=2, verbose=0).fit(train)
        >>> sorted(set(model.transform(train).columns) - set(train.columns))
        ['prediction', 'probability', 'rawPrediction']
        >>> len(model.predictProbability([0.2, 0.8])), model.numClasses
        (2, 2)
        >>> path = f"{mkdtemp()}/model"
        >>> model.save(path)
        >>> StokerClassificationModel.load(path).predict([0.2, 0.8]) == model.predict([0.2, 0.8])
        True
    """

    @property
    def numClasses(self) -> int:
        (shape,) = self._compiled.output_shapes.values()
        return max(2, math.prod(shape))

    def _outputs(self) -> Classification:
        names = (self.getRawPredictionCol(), self.getProbabilityCol(), self.getPredictionCol())
        thresholds = checked_thresholds(self.value("thresholds"), self.numClasses)
        return Classification(self._output_kind or "logits", *names, thresholds, self._label_words)

    @property
    def labels(self) -> list[str]:
        """The texts of the classes, where labels were texts; predictions are these."""
        return list(self._label_words)

    def _scores(self, value: Any) -> list[Any]:
        named = replace(self._outputs(), raw="raw", probability="probability", prediction="prediction")
        return self._answer(value, named)

    def predict(self, value: Any) -> Any:
        """The class of one row, without Spark: of a vector, an array or a list of numbers."""
        found = self._scores(value)[2]
        return found if self._label_words else float(found)

    def predictRaw(self, value: Any) -> DenseVector:
        """The raw scores of one row by class."""
        return DenseVector(self._scores(value)[0])

    def predictProbability(self, value: Any) -> DenseVector:
        """The probabilities of one row by class."""
        return DenseVector(self._scores(value)[1])


@with_accessors
class StokerRegressionModel(RegressionModelAccessors, _StokerModel, RegressionModel):
    """What StokerRegressor.fit gives: adds prediction, a double, or a vector where the model has several outputs a row.

    Example:
        >>> from pyspark.sql import SparkSession
        >>> from torch import nn
        >>> from stoker import StokerRegressor
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> train = spark.range(40).selectExpr("id / 40 as x", "id / 20 as y")
        >>> model = StokerRegressor(model=nn.Linear(1, 1), featuresCol="x", labelCol="y", verbose=0).fit(train)
        >>> model.transform(train).columns
        ['x', 'y', 'prediction']
        >>> len(model.history), model.numFeatures
        (1, 1)
    """

    def predict(self, value: Any) -> Any:
        """Of one row, without Spark: a vector, an array or a list of numbers. A vector where transform gives one."""
        found = self._answer(value, self._first_output("prediction"))[0]
        return float(found) if np.ndim(found) == 0 else DenseVector(found)

    def _outputs(self) -> Outputs:
        return self._first_output(self.getPredictionCol())

    def _first_output(self, name: str) -> Values:
        sizes = [math.prod(shape) for shape in self._compiled.output_shapes.values()]
        return Values((name, *[""] * (len(sizes) - 1)), tuple(sizes))


@with_accessors
class StokerModel(ModelAccessors, _StokerModel, NamedTensors):
    """What StokerEstimator.fit gives: adds a column for each of the model's outputs.

    Example:
        >>> from pyspark.sql import SparkSession
        >>> from torch import nn
        >>> from stoker import StokerEstimator
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> train = spark.range(40).selectExpr("id / 40 as x", "id / 20 as y")
        >>> estimator = StokerEstimator(model=nn.Linear(1, 1), featuresCol="x", labelCol="y", loss=nn.MSELoss(),
        ...                             verbose=0)
        >>> estimator.fit(train).transform(train).columns
        ['x', 'y', 'prediction']
    """

    def _outputs(self) -> Outputs:
        shapes = self._compiled.output_shapes
        names = columns_of_outputs(self, list(shapes)).values()
        return Values(tuple(names), tuple(math.prod(shape) for shape in shapes.values()))
