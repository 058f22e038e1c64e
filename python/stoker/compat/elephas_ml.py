"""Elephas' stages of pyspark.ml, by its names and defaults, as thin faces of StokerEstimator and StokerFeaturizer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pyspark import SparkContext, keyword_only
from pyspark.ml import Estimator, Model
from pyspark.ml.functions import vector_to_array
from pyspark.ml.linalg import Vectors
from pyspark.ml.param import Param, Params
from pyspark.ml.param.shared import HasFeaturesCol, HasLabelCol, HasOutputCol
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType

from stoker.errors import UserError, did_you_mean
from stoker.fit import compiling
from stoker.ml import persist
from stoker.ml.estimators import StokerEstimator
from stoker.ml.featurizer import StokerFeaturizer
from stoker.plain import plain
from stoker.strategy import Downpour

MODES = ("asynchronous", "hogwild", "synchronous")
WINDOWS = {"batch": 1, "epoch": 1 << 30}  # steps of a worker before it pushes; a window ends with its epoch
_ONE_HOT = "__stoker_one_hot"
_MODEL = "model.keras"
_MOST_WORKERS = 8  # Elephas' default


def strategy_of(mode: str, frequency: str, who: str) -> str | Downpour:
    """What Elephas' words are here. UserError for one that it has not."""
    if mode not in MODES:
        raise UserError(f"{who}: mode is {mode!r}, expected one of {', '.join(map(repr, MODES))}")
    if frequency not in WINDOWS:
        raise UserError(f"{who}: frequency is {frequency!r}, expected 'epoch' or 'batch'")
    return "allreduce" if mode == "synchronous" else Downpour(window=WINDOWS[frequency])


def to_data_frame(sc: SparkContext, features: np.ndarray, labels: np.ndarray, categorical: bool = False) -> DataFrame:
    """A DataFrame of 'features', vectors, and 'label', doubles.

    Args:
        sc: the Spark context.
        features: an array of rows of numbers.
        labels: an array of as many numbers, or with `categorical` one-hot vectors, whose class is the label.
        categorical: whether labels are one-hot.
    """
    numbers = np.asarray(labels).argmax(1) if categorical else np.asarray(labels)
    rows = [(Vectors.dense(np.ravel(row)), float(label)) for row, label in zip(features, numbers, strict=True)]
    return SparkSession.builder.getOrCreate().createDataFrame(rows, ["features", "label"])


class _ElephasParams(HasFeaturesCol, HasLabelCol, HasOutputCol):
    """What both stages have: names, setters and getters are Elephas'."""

    keras_model_config: Param[str] = Param(
        Params._dummy(), "keras_model_config", "the Keras model, as model.to_json() gives it"
    )
    _custom_objects: Mapping[str, Any] = {}

    def _begin(self) -> None:
        self._setDefault(outputCol="prediction")

    def set_params(self, **params: Any) -> Any:
        """Sets parameters by name; an unknown name is an error with the nearest one."""
        if "custom_objects" in params:
            self.set_custom_objects(params.pop("custom_objects"))
        for name in params:
            if not self.hasParam(name):
                known = [param.name for param in self.params]
                raise UserError(f"{type(self).__name__} has no parameter {name!r}"
                                f"{did_you_mean(name, known) or '; it has ' + ', '.join(known)}")  # fmt: skip
        return self._set(**{name: plain(value) for name, value in params.items() if value is not None})

    def set_keras_model_config(self, config: str) -> Any:
        """The Keras model, as model.to_json() gives it."""
        return self.set_params(keras_model_config=config)

    def get_keras_model_config(self) -> str:
        """What set_keras_model_config was given."""
        return self.getOrDefault(self.keras_model_config)

    def set_custom_objects(self, custom_objects: Mapping[str, Any]) -> Any:
        """Functions and classes of yours by their names in the model's configuration. They are not saved."""
        self._custom_objects = dict(custom_objects)
        return self

    def get_custom_objects(self) -> Mapping[str, Any]:
        """What set_custom_objects was given."""
        return self._custom_objects

    def get_model(self) -> Any:
        """A Keras model of the configuration, not compiled."""
        if not self.isDefined(self.keras_model_config):
            raise UserError(f"{type(self).__name__}: there is no Keras model: set_keras_model_config(model.to_json())")
        import keras

        config = self.getOrDefault(self.keras_model_config)
        try:
            return keras.models.model_from_json(config, custom_objects=dict(self._custom_objects))
        except (TypeError, ValueError, KeyError) as error:
            raise UserError(f"{type(self).__name__}: keras_model_config cannot be read: {str(error).splitlines()[0]}; "
                            "functions and classes of yours go into set_custom_objects") from error  # fmt: skip

    def write(self) -> persist.Writer:
        return _Writer(self)

    @classmethod
    def read(cls) -> persist.StokerReader:
        return _Reader(cls)

    def _files(self) -> dict[str, bytes]:
        """What is saved beside the parameters."""
        return {}

    @classmethod
    def _made(cls, files: Mapping[str, bytes]) -> Any:
        return cls()


class _Writer(persist.Writer):
    def content(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        return self.instance._files(), {}


class _Reader(persist.StokerReader):
    def _estimator(self, path: str, files: Mapping[str, bytes], metadata: Mapping[str, Any]) -> Any:
        return self.cls._made(files)  # type: ignore[attr-defined]


def _setting(name: str, doc: str) -> Param[Any]:
    return Param(Params._dummy(), name, doc)


def _setter(name: str) -> Callable:
    def set_it(self: _ElephasParams, value: Any) -> Any:
        return self.set_params(**{name: value})

    set_it.__doc__ = f"Sets {name}."
    return set_it


def _getter(name: str) -> Callable:
    def get_it(self: _ElephasParams) -> Any:
        return self.getOrDefault(name)

    get_it.__doc__ = f"The value of {name}."
    return get_it


class ElephasEstimator(Estimator, _ElephasParams, MLReadable, MLWritable):
    """Trains a Keras model, given as its configuration, on a DataFrame; fit gives an ElephasTransformer.

    Labels are numbers. With `categorical` (the default, as in Elephas) they are classes, and the loss is told of them
    as one-hot vectors of `nb_classes`. `batch_size` is one worker's; `num_workers` is 8 as there, or as many tasks as
    run at once. The prediction is an array of what the model gives for a row, or a double where that is one number.
    """

    optimizer_config = _setting("optimizer_config", "of keras.optimizers.serialize(); or a name")
    mode = _setting("mode", "'asynchronous', 'hogwild' (both by stoker.Downpour) or 'synchronous'")
    frequency = _setting("frequency", "'epoch' or 'batch': after which asynchronous workers push")
    nb_classes = _setting("nb_classes", "number of classes")
    categorical = _setting("categorical", "whether labels are classes")
    epochs = _setting("epochs", "passes over the rows")
    batch_size = _setting("batch_size", "rows of one worker's step")
    verbose = _setting("verbose", "1: progress")
    validation_split = _setting("validation_split", "share of the rows that is held out")
    num_workers = _setting("num_workers", "tasks that train together")
    loss = _setting("loss", "a loss of Keras by name")
    metrics = _setting("metrics", "metrics of Keras by name")

    @keyword_only
    def __init__(self, **params: Any) -> None:
        super().__init__()
        self._begin()
        self._setDefault(optimizer_config="sgd", mode="asynchronous", frequency="epoch", nb_classes=10,
                         categorical=True, epochs=10, batch_size=32, verbose=0, validation_split=0.1,
                         metrics=["acc"])  # fmt: skip
        self.set_params(**params)

    def _fit(self, df: DataFrame) -> ElephasTransformer:
        strategy = strategy_of(self.getOrDefault(self.mode), self.getOrDefault(self.frequency), "ElephasEstimator")
        if not self.isDefined(self.loss):
            raise UserError("ElephasEstimator: there is no loss: set_loss('categorical_crossentropy'), or another")
        model = self._compiled()
        label = self.getLabelCol()
        rows = self._one_hot(df, label) if self.getOrDefault(self.categorical) else df
        workers = self._workers(df.sparkSession)
        estimator = StokerEstimator(
            model=model, featuresCol=self.getFeaturesCol(), labelCol=label if rows is df else _ONE_HOT,
            epochs=self.getOrDefault(self.epochs), batchSize=workers * self.getOrDefault(self.batch_size),
            numWorkers=workers, verbose=self.getOrDefault(self.verbose),
            validationFraction=self.getOrDefault(self.validation_split) or None, strategy=strategy,
        )  # fmt: skip
        fitted = estimator.fit(rows)
        told = {name: self.getOrDefault(name) for name in ("featuresCol", "labelCol", "outputCol")}
        made = ElephasTransformer(weights=fitted.keras().get_weights(), **told)
        made.history = fitted.history
        made.set_custom_objects(self._custom_objects)
        return made.set_keras_model_config(self.get_keras_model_config())

    def _compiled(self) -> Any:
        import keras

        model, config = self.get_model(), self.getOrDefault(self.optimizer_config)
        optimizer = keras.optimizers.deserialize(config) if isinstance(config, Mapping) else config
        model.compile(optimizer, self.getOrDefault(self.loss), metrics=list(self.getOrDefault(self.metrics)))
        return model

    def _one_hot(self, df: DataFrame, label: str) -> DataFrame:
        """With the classes as vectors; a label that is none ends the fit with its value."""
        classes = int(self.getOrDefault(self.nb_classes))
        if label not in df.columns:
            raise UserError(f"ElephasEstimator: there is no column {label!r}{did_you_mean(label, df.columns)}")
        number = F.col(f"`{label}`").cast("double")
        fits = (number >= 0) & (number < classes) & (number == F.floor(number))
        told = F.concat(F.lit(f"{label} is "), number.cast("string"), F.lit(f", no class of 0 to {classes - 1}"))
        checked = F.when(fits, number).otherwise(F.raise_error(told).cast("double"))
        vector = F.transform(F.sequence(F.lit(0), F.lit(classes - 1)), lambda i: (i == checked).cast("float"))
        return df.withColumn(_ONE_HOT, vector)

    def _workers(self, spark: SparkSession) -> int:
        if self.isDefined(self.num_workers):
            return int(self.getOrDefault(self.num_workers))
        return min(_MOST_WORKERS, spark.sparkContext.defaultParallelism)


class ElephasTransformer(Model, _ElephasParams, MLReadable, MLWritable):
    """Adds what a Keras model gives for a row: an array, or a double where that is one number.

    Args:
        weights: as model.get_weights() gives them; without them the model has fresh ones.
        params: keras_model_config, featuresCol, outputCol ('prediction'), custom_objects; inference_batch_size and
            model_type have no meaning here.
    """

    inference_batch_size = _setting("inference_batch_size", "without meaning: rows run in chunks that fit the model")
    history: Any = None  # of the fit, where it came from one

    def __init__(self, weights: Sequence[np.ndarray] | None = None, model_type: Any = None, **params: Any) -> None:
        super().__init__()
        self._begin()
        self.weights = weights
        self._model: Any = None
        self.set_params(**params)

    def get_model(self) -> Any:
        """The Keras model, with the weights."""
        if self._model is None:
            model = super().get_model()
            if self.weights is not None:
                model.set_weights(self.weights)
            self._model = model
        return self._model

    def set_keras_model_config(self, config: str) -> Any:
        """The Keras model, as model.to_json() gives it."""
        self._model = None
        return super().set_keras_model_config(config)

    def _transform(self, df: DataFrame) -> DataFrame:
        model, column = self.get_model(), self.getOutputCol()
        outputs = getattr(model, "outputs", None) or []
        if len(outputs) != 1:
            raise UserError(f"ElephasTransformer: the model has {len(outputs)} outputs, and this adds one column: use "
                            "StokerEstimator")  # fmt: skip
        last = outputs[0]._keras_history.operation
        found = StokerFeaturizer(model=model, layer=last.path or last.name, featuresCol=self.getFeaturesCol(),
                                 outputCol=column)  # fmt: skip
        values = vector_to_array(F.col(f"`{column}`"))
        single = all(size == 1 for size in outputs[0].shape[1:])
        return found.transform(df).withColumn(column, values[0].cast(DoubleType()) if single else values)

    def _files(self) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _MODEL
            self.get_model().save(path)
            return {_MODEL: path.read_bytes()}

    @classmethod
    def _made(cls, files: Mapping[str, bytes]) -> ElephasTransformer:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _MODEL
            path.write_bytes(files[_MODEL])
            model = compiling.loaded(str(path))
        made = cls(weights=model.get_weights())
        made._model = model
        return made


for _name in ("mode", "frequency", "loss", "metrics", "epochs", "batch_size", "validation_split", "num_workers",
              "nb_classes", "optimizer_config"):  # fmt: skip
    setattr(ElephasEstimator, f"set_{_name}", _setter(_name))
    setattr(ElephasEstimator, f"get_{_name}", _getter(_name))
for _name, _param in (("categorical_labels", "categorical"), ("verbosity", "verbose")):
    setattr(ElephasEstimator, f"set_{_name}", _setter(_param))
    setattr(ElephasEstimator, f"get_{_name}", _getter(_param))


def load_ml_estimator(path: str) -> ElephasEstimator:
    """What ElephasEstimator.save wrote: a folder, in Spark's words for paths."""
    return ElephasEstimator.load(path)


def load_ml_transformer(path: str) -> ElephasTransformer:
    """What ElephasTransformer.save wrote, weights and all."""
    return ElephasTransformer.load(path)
