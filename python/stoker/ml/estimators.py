"""StokerClassifier, StokerRegressor and the general StokerEstimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyspark.ml import Estimator
from pyspark.ml.classification import ProbabilisticClassifier
from pyspark.ml.param.shared import HasPredictionCol
from pyspark.ml.regression import Regressor
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame

from stoker import optimizer, optimizer_state
from stoker.batch_norm import check_whole
from stoker.errors import UserError
from stoker.evaluation import check_groups, functions_of
from stoker.fit import class_weights, compiled, compiling, layout, strategies
from stoker.fit.checks import check_built, check_model
from stoker.fit.compiling import Measured, Prepared, Probe
from stoker.fit.names import Naming
from stoker.fit.run import Fitted, Phases, fit
from stoker.fit.settings import FitSettings, Watch, naming_of, validates
from stoker.inputs import learning
from stoker.ml import persist, range_test
from stoker.ml.accessors import ClassifierAccessors, EstimatorAccessors, RegressorAccessors
from stoker.ml.added import added_columns, known_columns
from stoker.ml.models import StokerClassificationModel, StokerModel, StokerRegressionModel, checked_thresholds
from stoker.ml.params import ClassifierOutputs, ClassWeights, EstimatorParams, NamedTensors, OutputKind, documented
from stoker.ml.range_test import RangeTest
from stoker.optimizer_state import OptimizerState
from stoker.program import Compiled
from stoker.spark import checks
from stoker.spark.columns import Source
from stoker.spark.table import Table

OptimizerSpec = dict[str, Any]


class _StokerEstimator(Estimator, EstimatorParams, HasPredictionCol, MLReadable, MLWritable):
    """What all three share. A subclass says what labels are, what outputs mean and which model comes out."""

    _model_class: type

    def __init__(self, **params: Any) -> None:
        super().__init__()
        self._set_defaults()
        self._gang_options: dict[str, Any] = {}  # more options of the coordinator, for tests
        self._saved: Prepared | None = None  # of an estimator that was loaded
        self._metrics_of_model = False  # evalMetrics are those that a Keras model was compiled with
        self._compiled_in: dict[str, Any] = {}  # params of it that cannot change any more
        self._saved_optimizer: OptimizerSpec | None = None  # where it was a torch.optim instance
        self.setParams(**params)

    def _labels(self, naming: Naming, table: Table | None, probe: Probe) -> list[Source]:
        raise NotImplementedError

    def _compile(self, inputs: list[Source], labels: list[Source], weighted: bool, probe: Probe) -> Prepared:
        raise NotImplementedError

    def find_learning_rate(self, df: DataFrame, lowest: float = 1e-7, highest: float = 10.0,
                           steps: int = 100) -> RangeTest:  # fmt: skip
        """A learning rate range test (Smith, 2017, arXiv 1506.01186): one short fit of `steps` steps on rows of `df`,
        whose rate grows exponentially from `lowest` to `highest`, and which ends when the loss explodes. This
        estimator stays as it is, and the model of the test is dropped.

        Raises:
            UserError: the rates are not in order, there are fewer than 10 steps, or what `fit` raises.
        """
        return range_test.find(self, df, lowest, highest, steps)

    def _fit(self, df: DataFrame) -> Any:
        return self._fit_watched(df)

    def _fit_watched(self, df: DataFrame, watch: Watch | None = None) -> Any:
        phases = Phases("learn")
        checks.check_dataframe(df, "fit")
        checks.check_ends(df, "fit")
        told = self._with_module()._going_on()
        settings = FitSettings.of(told.value, estimator=self.uid, watch=watch, more=self._gang_options)
        return told._fit_checked(settings, Table.of(df), phases)

    def _fit_checked(self, settings: FitSettings, table: Table, phases: Phases) -> Any:
        self._naming()
        checks.check_absent(table, known_columns(self))
        if settings.id_col:
            checks.check_key(table, settings.id_col, "idCol")
        if settings.validation_indicator_col:
            checks.check_mark(table, settings.validation_indicator_col, "validationIndicatorCol")
        return self._learnt(table)._fit_learnt(settings, table, phases)

    def _module(self) -> Any:
        """The model as the front end takes it."""
        return compiling.as_torch(self.value("model"))

    def _frozen(self) -> list[str] | dict[str, str]:
        return self.value("freeze") or []

    def _with_module(self) -> _StokerEstimator:
        """This estimator with the module that `model` builds, where it is a function, and with what a Keras model was
        compiled with."""
        build = self.value("model")
        if build is None or (self._saved is not None and not self.isSet("model")):
            return self
        if compiling.is_model_file(build):
            build = compiling.loaded(build)
            return self.copy({self.model: build})._with_module()
        check_model(build)
        module = build if compiling.is_model(build) else compiling.built(build, self.value("seed"))
        check_built(module)
        given = [param.name for param in self._paramMap]
        told = compiled.params_of(
            module, self.value("loss"), given, validates(self.value), isinstance(self, StokerClassifier)
        )
        changed = {self.getParam(name): value for name, value in told.items()}
        if not changed and module is build:
            return self
        copy = self.copy({**changed, self.model: module})
        copy._metrics_of_model = "evalMetrics" in told
        return copy

    def _going_on(self) -> _StokerEstimator:
        """This estimator with the training program of initialModel, where it is given and model is not."""
        initial = self.value("initialModel")
        if initial is None:
            return self
        if not issubclass(type(initial), self._model_class):
            raise UserError(f"initialModel: got a {type(initial).__name__}, and {type(self).__name__} goes on with a "
                            f"{self._model_class.__name__}")  # fmt: skip
        told = self.copy(self._learnt_by(initial))
        told._label_words = initial._label_words
        if not self.isSet("model"):
            told._saved = Prepared(initial._compiled, initial.output_kind, initial_rules(initial))
        return told

    def _learnt_by(self, initial: Any) -> dict[Any, Any]:
        """Its inputs with what they learnt from its rows, vocabularies and scales: the weights go with them."""
        own, learnt = self.value("inputs") or {}, initial.value("inputs") or {}
        if own and {name: type(one) for name, one in own.items()} != {name: type(one) for name, one in learnt.items()}:
            raise UserError(f"initialModel: it was fit with inputs={', '.join(learnt) or None}, and its weights go "
                            "with what these learnt: leave inputs out, or declare them as it did")  # fmt: skip
        return {self.inputs: learnt} if learnt else {}

    def _naming(self) -> Naming:
        """Which columns are what; they fit the model, which is one."""
        naming = naming_of(self)
        if self._saved is None or self.isSet("model"):
            check_model(self.value("model"))
            compiling.check_module(self._module(), naming.input_names)
        check_groups(self.value("evalMetrics"), naming.group_col, evaluated(self))
        return naming

    def _learnt(self, table: Table) -> _StokerEstimator:
        """This estimator with all that its declared inputs learn from the rows."""
        if not self.value("inputs"):
            return self
        return self.copy({self.inputs: learning.complete(table, self.value("inputs"))})

    def _fit_learnt(self, settings: FitSettings, table: Table, phases: Phases) -> Any:
        phases.enter("compile")
        prepared, sources = self._prepare(table)
        if self._metrics_of_model:
            settings = compiled.with_metrics_that_fit(settings, prepared.compiled.evaluation)
        if settings.whole_batch:
            check_whole(prepared.compiled.train)
        layout.check_classes(sources, prepared.label_rules.get("classes"))
        checks.check_absent(table, added_columns(self, list(prepared.compiled.output_shapes)))
        spec = self._optimizer_spec(prepared)
        optimizer.check_full_batch(spec["options"], settings)
        optimizer.check_moments(spec["options"], settings)
        strategies.check_optimizer(settings.strategy, spec["options"])
        begun = self._begun(prepared, spec, settings)
        fitted = fit(settings, table, prepared, sources, spec, phases, begun)
        return self._make_model(fitted, prepared)

    def _kept_state(self) -> OptimizerState | None:
        initial = self.value("initialModel")
        return None if initial is None else initial._optimizer

    def _begun(self, prepared: Prepared, spec: OptimizerSpec, settings: FitSettings) -> OptimizerState | None:
        """The state that initialModel's optimizer left, as this fit's goes on with it."""
        if (state := self._kept_state()) is None:
            return None
        optimizer_state.check_strategy(settings.strategy)
        parameters = prepared.compiled.train["parameters"]
        optimizer_state.check(state, spec["options"], groups_of(spec, parameters), parameters)
        return state.laid_out(self.value("initialModel")._compiled, prepared.compiled)

    def _prepare(self, table: Table | None) -> tuple[Prepared, list[Source]]:
        """The program, and the columns that fill its inputs; without a table as far as parameters tell. REQUIRES: a
        module, no function that builds one."""
        naming = self._naming()
        beside = [one for one in (layout.weight(naming, table), layout.group(naming, table)) if one is not None]
        if self._saved is not None and not self.isSet("model"):
            return self._saved, [*self._sources_of_saved(self._saved, naming, table), *beside]
        module = self._module()
        inputs = layout.features(naming, table, module)
        probe = Probe(module, inputs)
        labels = self._labels(naming, table, probe)
        prepared = self._compile(inputs, labels, naming.weight_col is not None, probe)
        if naming.group_col is not None:
            prepared = compiling.grouped(prepared)
        if self.value("initialModel") is not None:
            prepared = with_weights_of(self.value("initialModel")._compiled, prepared)
        return prepared, [*inputs, *labels, *beside]

    def _sources_of_saved(self, saved: Prepared, naming: Naming, table: Table | None) -> list[Source]:
        entries = saved.compiled.train["inputs"]
        persist.check_still_fits(self, entries, {"weight": naming.weight_col, "group": naming.group_col})
        inputs = layout.features_of_program(naming, table, [entry for entry in entries if entry["role"] == "feature"])
        labels = layout.labels_of_program(naming, table, [entry for entry in entries if entry["role"] == "label"])
        return [*inputs, *labels]

    def _optimizer_spec(self, prepared: Prepared) -> OptimizerSpec:
        """The engine's optimizer options, and the group of each parameter that is not in group 0."""
        spec, rate = self._unscheduled_optimizer(prepared), self.value("learningRate")
        state = self._kept_state()
        before = 0 if state is None else state.epochs
        options = optimizer.with_schedule(spec["options"], self.value("lrSchedule"), self.value("lrScheduleUnit"),
                                          before + self.value("epochs"), rate is not None)  # fmt: skip
        if how := self.value("scaleRate"):
            options = {
                **options,
                "rate_scale": optimizer.rate_scale(how, self.value("batchSize") * self.value("accumulate")),
            }
        average = self.value("averageWeights")
        return {**spec, "options": {**options, "average": average} if average else options}

    def _unscheduled_optimizer(self, prepared: Prepared) -> OptimizerSpec:
        rate = self.value("learningRate")
        if self._saved_optimizer is not None and not self.isSet("optimizer"):
            return with_rate(self._saved_optimizer, rate)
        more, scheduled = self.value("optimizerParams") or {}, self.value("lrSchedule") is not None
        if compiling.is_keras_optimizer(self.value("optimizer")):
            clips = not (self.value("clipNorm") or self.value("clipValue"))
            return compiling.of_keras(self.value("optimizer"), self._module(), rate, more, clips)
        named = self._named_parameters(prepared)
        options, groups = optimizer.parse(self.value("optimizer"), rate, more, named, scheduled)
        return {"options": options, "groups": groups}

    def _named_parameters(self, prepared: Prepared) -> list[tuple[str, Any]]:
        if self.isSet("model"):
            return list(self._module().named_parameters())
        weights = prepared.compiled.given()
        return [(entry["name"], weights[entry["name"]]) for entry in prepared.compiled.train["parameters"]]

    def _make_model(self, fitted: Fitted, prepared: Prepared) -> Any:
        initial, module = self.value("initialModel"), self.value("model")
        goes_on = initial is not None and module is None
        model = self._model_class(fitted.compiled, fitted.history, prepared.output_kind,
                                  initial._module if goes_on else module)  # fmt: skip
        model.keras_config = initial.keras_config if goes_on else None
        model._label_rules = prepared.label_rules
        model._optimizer = fitted.optimizer
        model._label_words = self._label_words
        return self._copyValues(model._resetUid(self.uid))

    def _own_files(self) -> dict[str, bytes]:
        """What a subclass keeps beside what all have, by name."""
        return {}

    def _take_own_files(self, files: Mapping[str, bytes]) -> None:
        """Of an estimator that was loaded."""

    def write(self) -> persist.EstimatorWriter:
        return persist.EstimatorWriter(self)

    @classmethod
    def read(cls) -> persist.StokerReader:
        return persist.StokerReader(cls)


def evaluated(estimator: Any) -> bool:
    """Whether there is to be an evaluation program."""
    return validates(estimator.value) or estimator.isSet("evalMetrics")


def measured(estimator: Any, loss: Any, probe: Probe, labels: Sequence[Source]) -> Measured | None:
    """What it measures. The model is run only where there is one: what is wrong with the rows is told first."""
    return compiling.measured_by(loss, probe.shapes, labels) if evaluated(estimator) else None


def initial_rules(initial: Any) -> dict[str, Any]:
    """Of the labels that a model was trained with; of one that was saved before they were, what is known."""
    if initial._label_rules is not None:
        return initial._label_rules
    classes = getattr(initial, "numClasses", None)
    return {"classes": classes} if classes else {}


def with_weights_of(initial: Compiled, prepared: Prepared) -> Prepared:
    """The program with another's weights and buffers, by name, also of what is frozen. UserError says which do not
    fit."""
    compiled, weights = prepared.compiled, initial.state()
    own = {name: array for name, array in compiled.given().items() if not name.startswith("$")}
    names = [name for name in compiled.read() if name in own]
    wrong = [f"it has no {name!r}" for name in names if name not in weights]
    wrong += [f"{name!r} is {list(weights[name].shape)} there and {list(own[name].shape)} in model"
              for name in names if name in weights and weights[name].shape != own[name].shape]  # fmt: skip
    if wrong:
        raise UserError(f"initialModel: its weights do not fit model: {'; '.join(wrong)}")
    fitting = {name: weights[name] for name in own if name in weights and weights[name].shape == own[name].shape}
    return replace(prepared, compiled=compiled.with_given(fitting))


def groups_of(spec: OptimizerSpec, parameters: Sequence[dict[str, Any]]) -> list[int]:
    """The optimizer's group of each parameter."""
    return [spec["groups"].get(entry["name"], 0) for entry in parameters]


def with_rate(spec: OptimizerSpec, rate: float | None) -> OptimizerSpec:
    """The same with another learning rate in every group, if one is given."""
    if rate is None:
        return spec
    groups = [{**group, "lr": rate} for group in spec["options"]["groups"]]
    options = {key: value for key, value in spec["options"].items() if key != "schedule"}  # of a Keras optimizer
    return {**spec, "options": {**options, "groups": groups}}


@documented
class StokerClassifier(
    ClassifierAccessors, _StokerEstimator, ClassifierOutputs, OutputKind, ClassWeights, ProbabilisticClassifier
):
    """Trains a classifier: labels are class numbers 0, 1, ..., or texts, of which the most frequent is class 0 (then
    predictions are texts too); a model with one output is a binary one.

    The model it gives adds rawPrediction, probability and prediction.

    Example:
        >>> from pyspark.sql import SparkSession
        >>> from torch import nn
        >>> from stoker import StokerClassifier
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> rows = [([x / 50, 1 - x / 50], int(x > 25)) for x in range(51)]
        >>> train = spark.createDataFrame(rows, "features array<float>, label int")
        >>> net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> estimator = StokerClassifier(model=net, learningRate=0.05, batchSize=17, epochs=50, verbose=0)
        >>> model = estimator.fit(train)
        >>> model.transform(train).where("prediction != label").count() < 5
        True
        >>> model.predict([1.0, 0.0])
        1.0
    """

    _model_class = StokerClassificationModel
    _class_counts: dict[int, int] | None = None  # rows by class, where they were counted

    def _set_defaults(self) -> None:
        super()._set_defaults()
        self._setDefault(outputKind="auto", evalMetrics=["accuracy"])

    def _learnt(self, table: Table) -> _StokerEstimator:
        told = super()._learnt(table)
        if self._label_words and self.value("initialModel") is not None:
            return told
        if words := learning.words_of_label(table, self.getLabelCol(), "labelCol"):
            told = told.copy()
            told._label_words = words
        return told._counted(table)

    def _counted(self, table: Table) -> StokerClassifier:
        """With the rows of each class, where these say what they count."""
        if self.value("classWeight") != class_weights.BALANCED:
            return self
        told = self.copy()
        mark = self.value("validationIndicatorCol") or None
        told._class_counts = class_weights.counted(table, self.getLabelCol(), told._label_words, mark)
        return told

    def _labels(self, naming: Naming, table: Table | None, probe: Probe) -> list[Source]:
        return [layout.class_label(naming, table)]

    def _compile(self, inputs: list[Source], labels: list[Source], weighted: bool, probe: Probe) -> Prepared:
        module, loss, reduction = self._module(), self.value("loss"), self.value("lossReduction")
        size = compiling.check_class_shape(probe.shapes)
        kind = compiling.output_kind_of(module, loss, self.getOutputKind())
        checked_thresholds(self.value("thresholds"), max(size, 2))
        rules = compiling.class_rules(loss, max(size, 2))
        if loss is None:
            loss, reduction = compiling.default_class_loss(kind, size)
        class_weights.check_loss(told := self.value("classWeight"), loss)
        weights = class_weights.of_classes(told, max(size, 2), self._label_words, self._class_counts)
        metric = compiling.class_metric(kind, size)
        compiled = compiling.compile_model(module, loss, inputs, labels, weighted=weighted, reduction=reduction,
                                           metric=metric, evaluated=evaluated(self),
                                           own=functions_of(self.value("evalMetrics")),
                                           measured=Measured(metric, kind, size),
                                           freeze=self._frozen(), mix=self.value("mix"),
                                           class_weight=weights, precision=self.value("precision"))  # fmt: skip
        return Prepared(compiled, kind, rules)


@documented
class StokerRegressor(RegressorAccessors, _StokerEstimator, Regressor):
    """Trains a regressor: labels are numbers, or arrays or vectors of them. The loss is the mean square by default.

    Example:
        >>> from pyspark.sql import SparkSession
        >>> from torch import nn
        >>> from stoker import StokerRegressor
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> train = spark.range(40).selectExpr("id / 40 as x", "id / 20 as y")
        >>> estimator = StokerRegressor(model=nn.Linear(1, 1), featuresCol="x", labelCol="y", optimizer="sgd",
        ...                             learningRate=0.5, batchSize=20, epochs=100, verbose=0)
        >>> model = estimator.fit(train)
        >>> round(model.predict([0.5]), 2)
        1.0
    """

    _model_class = StokerRegressionModel

    def _labels(self, naming: Naming, table: Table | None, probe: Probe) -> list[Source]:
        return layout.value_labels(naming, table, lambda label: "float32", probe.size_of_output)

    def _compile(self, inputs: list[Source], labels: list[Source], weighted: bool, probe: Probe) -> Prepared:
        from torch.nn import MSELoss

        loss = self.value("loss") if self.value("loss") is not None else MSELoss()
        compiled = compiling.compile_model(self._module(), loss, inputs, labels, weighted=weighted,
                                           reduction=self.value("lossReduction"), metric=None,
                                           evaluated=evaluated(self), own=functions_of(self.value("evalMetrics")),
                                           measured=measured(self, loss, probe, labels),
                                           freeze=self._frozen(), mix=self.value("mix"),
                                           precision=self.value("precision"))  # fmt: skip
        return Prepared(compiled)


@documented
class StokerEstimator(EstimatorAccessors, _StokerEstimator, NamedTensors):
    """Trains any model by any loss of (outputs, labels), with several inputs, labels and outputs by name.

    Example:
        >>> import torch
        >>> from pyspark.sql import SparkSession
        >>> from stoker import StokerEstimator
        >>> class Distance(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.scale = torch.nn.Parameter(torch.ones(1))
        ...
        ...     def forward(self, a, b):
        ...         return self.scale * (a - b)
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> train = spark.range(40).selectExpr("float(id % 7) as a", "float(id % 5) as b", "3 * (id % 7 - id % 5) as y")
        >>> estimator = StokerEstimator(model=Distance(), inputs={"a": "a", "b": "b"}, labelCol="y",
        ...                             loss=torch.nn.L1Loss(), learningRate=0.1, batchSize=20, epochs=40, verbose=0)
        >>> [round(scale, 1) for scale in estimator.fit(train).torch().scale.tolist()]
        [3.0]
    """

    _model_class = StokerModel

    def _labels(self, naming: Naming, table: Table | None, probe: Probe) -> list[Source]:
        types, loss = naming.label_types or {}, self._loss()
        if compiling.is_known(loss):
            usual = "int64" if compiling.wants_classes(loss) else "float32"
            return layout.value_labels(naming, table, lambda label: types.get(label.name, usual), probe.size_for(loss))
        if table is None:
            compiling.check_label_is_known(loss, list(layout.label_columns(naming)), types)
        of_tokens = getattr(loss, "of_tokens", False)
        whole = of_tokens or (table is None and compiling.wants_classes(loss))

        def own(label: Source) -> str:
            return types.get(label.name) or ("int64" if whole else layout.own_type(table, label))

        by_model = getattr(loss, "labels_as_outputs", True) or (table is None and of_tokens)
        labels = layout.value_labels(naming, table, own, probe.size_for(loss) if by_model else lambda label: None)
        return probe.typed_for(loss, labels, types)

    def _compile(self, inputs: list[Source], labels: list[Source], weighted: bool, probe: Probe) -> Prepared:
        loss = self._loss()
        compiled = compiling.compile_model(self._module(), loss, inputs, labels, weighted=weighted,
                                           reduction=self.value("lossReduction"), metric=None,
                                           evaluated=evaluated(self), own=functions_of(self.value("evalMetrics")),
                                           measured=measured(self, loss, probe, labels),
                                           freeze=self._frozen(), mix=self.value("mix"),
                                           precision=self.value("precision"))  # fmt: skip
        wanted = compiling.wants_classes(loss) and len(labels) == 1 and labels[0].dtype == "int64"
        return Prepared(compiled, None, compiling.class_rules(loss, probe.shapes[0][0]) if wanted else {})

    def _loss(self) -> Any:
        if self.value("loss") is not None:
            return self.value("loss")
        if (own := compiling.own_loss(self._module())) is not None:
            return own
        raise UserError("loss is not set: give a torch loss, or a callable of (outputs, labels)")
