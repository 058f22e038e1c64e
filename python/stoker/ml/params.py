"""The parameters of estimators and models. A model carries those that matter to transform, so the estimator copies them
over."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import (
    HasBatchSize,
    HasFeaturesCol,
    HasLabelCol,
    HasLearningRate,
    HasLoss,
    HasOutputCol,
    HasProbabilityCol,
    HasRawPredictionCol,
    HasSeed,
    HasThresholds,
    HasValidationIndicatorCol,
    HasWeightCol,
)

from stoker.averaging import as_average
from stoker.callback import as_callbacks
from stoker.errors import UserError, did_you_mean, now_called
from stoker.evaluation import as_metrics, as_stopping
from stoker.fit import compiling
from stoker.fit.class_weights import as_class_weight
from stoker.fit.strategies import as_compiled
from stoker.inputs.declarations import as_inputs
from stoker.mixing import as_mix
from stoker.ml.dtypes import types_by_name
from stoker.plain import Described, plain, settings, thing
from stoker.schedule import as_schedule

C = TypeVar("C", bound=type)
KINDS = dict.fromkeys(
    ("featuresCol", "labelCol", "predictionCol", "probabilityCol", "rawPredictionCol", "weightCol",
     "validationIndicatorCol"), "str")  # fmt: skip
"""What a parameter takes, in words of Python; of ours by their converters."""
KINDS |= {"thresholds": "Sequence[float]", "seed": "int"}
_OF_CONVERTERS: dict[Any, str] = {
    TypeConverters.toInt: "int", TypeConverters.toFloat: "float", TypeConverters.toString: "str",
    TypeConverters.toBoolean: "bool", TypeConverters.toListString: "Sequence[str]",
}  # fmt: skip
RENAMED = {"lossTimeout": "workerTimeout", "onLoss": "onWorkerLost"}


def with_accessors(cls: C, defaults: Mapping[str, Any] | None = None) -> C:
    """Gives a class setX and getX for each of its Params that has none."""
    for name in params_of(cls):
        title, told = name[0].upper() + name[1:], _told(cls, name, defaults or {})
        if not hasattr(cls, f"set{title}"):
            setattr(cls, f"set{title}", _setter(name, told))
        if not hasattr(cls, f"get{title}"):
            setattr(cls, f"get{title}", _getter(name, told))
    return cls


def documented(cls: C) -> C:
    """Gives an estimator's class accessors, the signature of its parameters with their defaults, and their list in its
    docstring, before the example."""
    defaults = {param.name: value for param, value in cls()._defaultParamMap.items()}
    with_accessors(cls, defaults)
    keyword = inspect.Parameter.KEYWORD_ONLY
    cls.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, keyword, default=defaults.get(name), annotation=annotation_of(name, defaults))
         for name in params_of(cls)])  # fmt: skip
    about, mark, example = inspect.cleandoc(cls.__doc__ or "").partition("Example:")
    lines = [f"    {name}: {_told(cls, name, defaults)}" for name in params_of(cls)]
    cls.__doc__ = "\n".join([about.rstrip(), "", "Parameters:", *lines, "", mark + example])
    return cls


def params_of(cls: type) -> list[str]:
    """In the order in which its classes declare them, the model and its columns first."""
    declared = {name: kind for kind in reversed(cls.__mro__) for name, value in vars(kind).items()
                if isinstance(value, Param)}  # fmt: skip
    kinds = [ModuleParams, TextParams, InputParams, HasFeaturesCol, HasLabelCol, HasWeightCol, DataParams, TrainParams]
    first = [name for kind in kinds for name in vars(kind)]
    return sorted(declared, key=lambda name: first.index(name) if name in first else len(first))


def annotation_of(name: str, defaults: Mapping[str, Any]) -> str:
    """What may be given; None leaves it as it is."""
    kind = KINDS.get(name, "Any")
    return kind if kind == "Any" or defaults.get(name) is not None else f"{kind} | None"


def _told(cls: type, name: str, defaults: Mapping[str, Any]) -> str:
    default = f" (default: {defaults[name]!r})" if defaults.get(name) is not None else ""
    return getattr(cls, name).doc.rstrip(".") + default


def _setter(name: str, doc: str) -> Callable:
    def set_param(self: Params, value: Any) -> Params:
        return self._set(**{name: value})

    set_param.__doc__ = f"Sets {name}: {doc}."
    return set_param


def _getter(name: str, doc: str) -> Callable:
    def get_param(self: Params) -> Any:
        return self.getOrDefault(name)

    get_param.__doc__ = f"The value of {name}, or its default: {doc}."
    return get_param


class KeywordParams(Params):
    """Params given by keyword: an unknown name is an error that suggests the nearest; None leaves a param unset."""

    _label_words: tuple[str, ...] = ()  # of a classifier whose labels are texts, by class

    def setParams(self, **params: Any) -> KeywordParams:
        for name in params:
            if name in RENAMED:
                raise TypeError(now_called(name, RENAMED[name]))
            if not self.hasParam(name):
                known = [param.name for param in self.params]
                hint = did_you_mean(name, known) or f". It has: {', '.join(known)}"
                raise TypeError(f"{type(self).__name__} has no parameter '{name}'{hint}")
        return self._set(**params)

    def _set(self, **params: Any) -> KeywordParams:
        super()._set(**{name: plain(value) for name, value in params.items() if value is not None})
        for name, value in params.items():
            param = self.getParam(name)
            if value is None:
                self.clear(param)
            else:
                self._paramMap[param] = thing(self._paramMap[param])
        return self

    def set(self, param: Param, value: Any) -> None:
        self._shouldOwn(param)
        self._set(**{param.name: value})

    def __getattr__(self, name: str) -> Any:
        """Reached by names that are not there: an old one says what it is called now."""
        prefix = name[:3] if name[:3] in ("set", "get") else ""
        for old, new in RENAMED.items():
            if name in (old, prefix + old[0].upper() + old[1:]):
                now = prefix + new[0].upper() + new[1:] if prefix else new
                raise AttributeError(now_called(name, now))
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def value(self, name: str) -> Any:
        """The value of a param; None where it is not set and has no default, or where there is no such param."""
        return self.getOrDefault(name) if self.hasParam(name) and self.isDefined(name) else None


def _param(name: str, doc: str, converter: Callable | None = None) -> Param:
    KINDS[name] = _OF_CONVERTERS.get(converter, "Any")
    return Param(Params._dummy(), name, doc, typeConverter=_of_plain(converter) if converter else None)


def _of_plain(converter: Callable) -> Callable:
    """Also for what Spark's converters do not know: grids of parameters call them directly."""

    def convert(value: Any) -> Any:
        return converter(plain(value))

    return convert


def _size(value: Any) -> Any:
    """What a file can hold; whether it is a size is checked at fit."""
    if not isinstance(value, (int, float, str)):
        raise TypeError(f"expected bytes, or a size such as '512m', not a {type(value).__name__}")
    return value


def _shape(value: Any) -> Any:
    """A list of sizes, or a dict of them by input name."""
    if isinstance(value, dict):
        return {str(name): TypeConverters.toListInt(shape) for name, shape in value.items()}
    return TypeConverters.toListInt(value)


def _names(value: Any) -> Any:
    """One name, a list of them, or a dict of either."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return {str(name): _names(names) for name, names in value.items()}
    return TypeConverters.toListString(value)


def _group(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else TypeConverters.toListString(value)


def _frozen(value: Any) -> list[str] | dict[str, str]:
    """Names, or up to where."""
    if not isinstance(value, Mapping):
        return _group(value)
    if list(value) != ["upTo"] or not isinstance(value["upTo"], str):
        raise TypeError(f"expected patterns of names, or {{'upTo': 'the name of a layer'}}, not {dict(value)!r}")
    return dict(value)


class InputParams(HasFeaturesCol, KeywordParams):
    """Which columns are the model's input."""

    inputs = _param("inputs", "what the model's inputs are made of, instead of featuresCol: by the name of forward's "
                    "argument a column, a declaration of stoker.inputs, or a list of them", as_inputs)  # fmt: skip
    inputTypes = _param("inputTypes", "dtypes of inputs by name, such as {'words': 'int64'} (default: float32)",
                        types_by_name("inputTypes"))  # fmt: skip

    featuresCols = _param("featuresCols", "numeric columns that are packed into one input, instead of featuresCol",
                          TypeConverters.toListString)  # fmt: skip
    transformGroup = _param("transformGroup", "for models whose answer for a row depends on the rows beside it: the "
                            "column whose equal values say which rows transform runs together, or a list of it and the "
                            "columns by which they are ordered (default: by the model's inputs)", _group)  # fmt: skip
    inputShape = _param("inputShape", "shape of one row as the model wants it, such as [1, 28, 28]", _shape)


class TextParams(KeywordParams):
    """Of models of texts."""

    textCol = _param("textCol", "column of texts, the model's input; a null is an empty text", TypeConverters.toString)
    tokenizer = _param("tokenizer", "what makes numbers of texts: a tokenizer of transformers or tokenizers, or the "
                       "path of a folder or file with one (docs/text.md)", Described.of)  # fmt: skip
    maxLength = _param("maxLength", "tokens of a text, to which it is cut or padded", TypeConverters.toInt)


class DataParams(HasLabelCol, InputParams, HasWeightCol):
    idCol = _param("idCol", "column that alone decides which shard a row goes to (default: all columns that are used)",
                   TypeConverters.toString)  # fmt: skip
    onBadRow = _param("onBadRow", "what a row that cannot be read does: 'error', or 'skip', which leaves it out and "
                      "counts it in history.skipped", TypeConverters.toString)  # fmt: skip
    assign = _param("assign", "how rows go to shards: 'hash' (one shuffle) or 'partition' (as they lie, no shuffle)",
                    TypeConverters.toString)  # fmt: skip
    directScan = _param("directScan", "whether workers may read Parquet files by themselves where the DataFrame is a "
                        "plain scan of them; the result is the same bits", TypeConverters.toBoolean)  # fmt: skip
    storeMemory = _param("storeMemory", "memory for the rows of one worker, in bytes or as '2g'; what needs more goes "
                         "to disk, under spark.local.dir (default: half of a worker's share of the free memory)",
                         _size)  # fmt: skip


class ModuleParams(HasLoss, KeywordParams):
    model = _param("model", "the torch.nn.Module or Keras model to train, which fit never changes; the path of a "
                   ".keras, .h5 or .onnx file; or a function without arguments that builds it, called under the fit's "
                   "seed",
                   Described.of)  # fmt: skip
    loss = _param("loss", "a torch loss module, or a callable of (outputs, labels)", Described.of)
    lossReduction = _param("lossReduction", "how the loss makes one number of its rows: 'mean', 'sum' or 'none'",
                           TypeConverters.toString)  # fmt: skip

    freeze = _param("freeze", "what of the model is not trained: patterns of its parameters' names such as "
                    "['encoder.*'], or names of parts; or {'upTo': 'encoder.3'}, all that this layer's value is made "
                    "of (default: nothing)", _frozen)  # fmt: skip
    cacheFrozen = _param("cacheFrozen", "whether what frozen layers give for a row is computed once and kept beside "
                         "the rows, where nothing random and nothing that is trained comes before them; the result is "
                         "the same bits", TypeConverters.toBoolean)  # fmt: skip


class FeaturizerParams(InputParams, HasOutputCol):
    """Of what gives the values of a layer."""

    model = _param("model", "the torch.nn.Module or Keras model that is run, the path of a .keras, .h5 or .onnx "
                   "file, or a model that fit() or load() gave", Described.of)  # fmt: skip
    layer = _param("layer", "the layer whose values are wanted, by its name in the model: 'encoder.2' or, of Keras, "
                   "'trunk/dense' or 'dense'", TypeConverters.toString)  # fmt: skip


def _texts(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping) or not all(isinstance(one, str) for pair in value.items() for one in pair):
        raise TypeError(f"expected a dict of texts to texts, not {value!r}")
    return dict(value)


def _payload(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"expected the bytes of an ONNX file, not a {type(value).__name__}")
    return bytes(value)


class OnnxParams(InputParams):
    """Of what scores an ONNX graph; named as in SynapseML."""

    modelLocation = _param("modelLocation", "the path of an ONNX file, which the driver reads",
                           TypeConverters.toString)  # fmt: skip
    modelPayload = _param("modelPayload", "the bytes of an ONNX file, instead of modelLocation", _payload)
    feedDict = _param("feedDict", "names of the graph's inputs to columns, instead of featuresCol", _texts)
    fetchDict = _param("fetchDict", "columns that are added to the names of the graph's tensors that they hold, its "
                       "outputs or others inside of it (default: its outputs, by their names)", _texts)  # fmt: skip
    softMaxDict = _param("softMaxDict", "columns of fetchDict to columns with the softmax of their values", _texts)
    argMaxDict = _param("argMaxDict", "columns of fetchDict to columns with the place of their largest value, from 0",
                        _texts)  # fmt: skip


def _schedule(value: Any) -> dict[str, Any]:
    return as_schedule(compiling.schedule_of(value))


def as_initial(value: Any) -> Any:
    """A model of Stoker's, as a parameter holds it."""
    if thing(value) is not None and not isinstance(value, str) and not hasattr(value, "_compiled"):
        raise UserError(f"initialModel: got a {type(value).__name__}, expected what fit() or load() gives; for a model "
                        "of torch or Keras set model")  # fmt: skip
    return Described.of(value)


class TrainParams(HasSeed, HasLearningRate, HasBatchSize, KeywordParams):
    optimizer = _param("optimizer", "'adam', 'sgd', 'lamb' or another name (docs/optimizers.md), or a torch.optim "
                       "instance over the model's parameters", Described.of)  # fmt: skip
    optimizerParams = _param("optimizerParams", "more settings of the optimizer, named as in torch.optim; 'groups': a "
                             "list of dicts of such settings with 'params', patterns of the names in it",
                             settings)  # fmt: skip
    learningRate = _param("learningRate", "step size (default: the optimizer's own)", TypeConverters.toFloat)
    lrSchedule = _param("lrSchedule", "what becomes of the learning rate: a dict such as {'name': 'cosine', 'warmup': "
                        "500}, or an instance of torch.optim.lr_scheduler or keras.optimizers.schedules, which has a "
                        "rate of its own (default: it stays)", _schedule)  # fmt: skip
    lrScheduleUnit = _param("lrScheduleUnit", "what lrSchedule counts: 'steps' or 'epochs'",
                            TypeConverters.toString)  # fmt: skip
    scaleRate = _param("scaleRate", "how the learning rate, that of batches of 256 rows, follows batchSize: 'linear' "
                       "(batchSize / 256 times) or 'sqrt' (the root of that) (default: it does not)",
                       TypeConverters.toString)  # fmt: skip
    mix = _param("mix", "rows are mixed in pairs while it trains, and their losses alike: 'mixup', 'cutmix', or a dict "
                 "such as {'name': 'mixup', 'alpha': 0.2} (default: they are not)", as_mix)  # fmt: skip
    averageWeights = _param("averageWeights", "the model gets an average of the weights over the steps: 'ema', 'swa', "
                            "or a dict such as {'name': 'ema', 'decay': 0.999} (default: the last weights)",
                            as_average)  # fmt: skip
    strategy = _param("strategy", "how workers come to one model: 'allreduce' (each step's gradients are added up), or "
                      "stoker.LocalSGD(every=20), stoker.DiLoCo(every=100), whose shards take steps alone and are "
                      "averaged, stoker.OwnStrategy, which are put together by a function of yours, "
                      "stoker.PowerSGD(rank=2), whose gradients are added up as thin factors, "
                      "stoker.TopK(share=0.01), of whose gradients the largest numbers are, "
                      "stoker.Threshold(), of which the signs of those above a threshold are, or "
                      "stoker.Downpour, AGN, DynSGD, DistanceADAG, AEASGD, EAMSGD, SSP or Hogwild, whose "
                      "shards push one after the other (docs/strategies.md)", as_compiled)  # fmt: skip
    batchNorm = _param("batchNorm", "whose statistics batch norms go by while the model trains: 'shard' (those of the "
                       "rows that each shard gives to the step) or 'batch' (those of the whole batch, as in one "
                       "process, for any number of shards)", TypeConverters.toString)  # fmt: skip
    precision = _param("precision", "what matrix products, convolutions and attention are computed in while the model "
                       "trains: 'fp32', or 'bf16' (mixed precision, as torch.autocast has it; weights, loss, "
                       "optimizer and sums stay in float32)", TypeConverters.toString)  # fmt: skip
    reduceDtype = _param("reduceDtype", "what gradients are added up and travel between hosts in: 'fp32', or 'bf16' "
                         "(each shard's, and each sum of two, is rounded to bfloat16: half the bytes; loss, metrics "
                         "and statistics of batch norms are not)", TypeConverters.toString)  # fmt: skip
    batchSize = _param("batchSize", "rows of one step over all workers", TypeConverters.toInt)
    accumulate = _param("accumulate", "micro-batches of batchSize rows whose gradients are added up to one step's, in "
                        "the memory of one", TypeConverters.toInt)  # fmt: skip
    epochs = _param("epochs", "passes over the rows", TypeConverters.toInt)
    initialModel = _param("initialModel", "a model that fit() or load() gave, whose training goes on: with its own "
                          "program and weights, or, where model is set too, with its weights in that one; not saved "
                          "with an estimator (default: model begins as it is)", as_initial)  # fmt: skip
    saveOptimizer = _param("saveOptimizer", "whether the model keeps the optimizer's state, and saves it too, so that "
                           "a fit with it as initialModel goes on as this one would have",
                           TypeConverters.toBoolean)  # fmt: skip
    maxSteps = _param("maxSteps", "steps after which the fit ends though its epochs are not over (default: all are "
                      "made)", TypeConverters.toInt)  # fmt: skip
    maxSeconds = _param("maxSeconds", "seconds of training after which the fit ends though its epochs are not over "
                        "(default: no limit)", TypeConverters.toFloat)  # fmt: skip
    callbacks = _param("callbacks", "stoker.Callback instances that are told on the driver how the fit goes, and may "
                       "end it or set its learning rate; not saved with an estimator (docs/callbacks.md)",
                       as_callbacks)  # fmt: skip
    shuffle = _param("shuffle", "whether each epoch has an order of its own", TypeConverters.toBoolean)
    clipNorm = _param("clipNorm", "largest norm of the whole gradient; 0: off", TypeConverters.toFloat)
    clipValue = _param("clipValue", "largest absolute value in the gradient; 0: off", TypeConverters.toFloat)
    onNaN = _param("onNaN", "what a step whose loss, gradient or weights are not finite does: 'error' ends the fit, "
                   "'skip' leaves the step out and counts it in the history as skipped_steps, 'continue' goes on",
                   TypeConverters.toString)  # fmt: skip


class ValidationParams(HasValidationIndicatorCol, KeywordParams):
    """Rows that are not trained on, on which each epoch is evaluated."""

    validationFraction = _param("validationFraction", "share of the rows, by their hash, that are held out for "
                                "validation: always the same ones (default: none are)",
                                TypeConverters.toFloat)  # fmt: skip
    validationInterval = _param("validationInterval", "steps of an epoch after which these rows are evaluated, again "
                                "and again, and not only at its end (default: at its end)",
                                TypeConverters.toInt)  # fmt: skip
    evalMetrics = _param("evalMetrics", "what is told of these rows beside the loss: names of metrics, functions of "
                         "(outputs, labels, weight) that give two sums (docs/validation.md)",
                         as_metrics)  # fmt: skip
    groupCol = _param("groupCol", "column of whole numbers or texts whose equal values say which rows metrics such as "
                      "ndcg_score_10 rank together, as those of a query", TypeConverters.toString)  # fmt: skip
    earlyStopping = _param("earlyStopping", "when the fit ends before its epochs are over: a dict such as {'monitor': "
                           "'val_loss', 'patience': 3, 'minDelta': 0.0, 'mode': 'auto'} (default: never)",
                           as_stopping)  # fmt: skip
    restoreBest = _param("restoreBest", "whether the model gets the weights of the epoch with the best score, and not "
                         "the last ones", TypeConverters.toBoolean)  # fmt: skip


class GangParams(KeywordParams):
    numWorkers = _param("numWorkers", "Spark tasks that train together", TypeConverters.toInt)
    minWorkers = _param("minWorkers", "with how many workers a fit may begin when no more of them can be had; for a "
                        "given numShards the model is the same (default: numWorkers)",
                        TypeConverters.toInt)  # fmt: skip
    numShards = _param("numShards", "parts that the rows are cut into, numWorkers or more. The result depends on it, "
                       "and for a given number is the same bits whatever numWorkers is: give one to be free to take "
                       "any numWorkers later (default: the smallest multiple of numWorkers from 8 on, which is 8 for "
                       "1, 2, 4 and 8 workers; numWorkers where that leaves a shard fewer than 16 rows of batchSize, "
                       "where the model's rows depend on each other as with batch norm and contrastive losses, with "
                       "local steps and with assign='partition')", TypeConverters.toInt)  # fmt: skip
    threads = _param("threads", "threads of one worker's operators (default: spark.task.cpus)", TypeConverters.toInt)
    startTimeout = _param("startTimeout", "seconds from the first task that starts until all have",
                          TypeConverters.toFloat)  # fmt: skip
    heartbeatTimeout = _param("heartbeatTimeout", "seconds without a sign of life until a worker counts as dead",
                              TypeConverters.toFloat)  # fmt: skip
    workerTimeout = _param("workerTimeout", "seconds that the place of a lost worker may stay empty until the Spark "
                           "job is started again; 0: no limit", TypeConverters.toFloat)  # fmt: skip
    onWorkerLost = _param("onWorkerLost", "what happens when workerTimeout ends: 'wait' starts the job again with the "
                          "workers that there are, to the same bits; 'continue' goes on without the lost worker's rows "
                          "and marks the history as inexact", TypeConverters.toString)  # fmt: skip
    maxRestarts = _param("maxRestarts", "how often the Spark job is started again, from the newest committed step, "
                         "when it fails as a whole after a worker was lost", TypeConverters.toInt)  # fmt: skip
    onChangedRows = _param("onChangedRows", "what a restarted worker that reads other rows than before does: 'error', "
                           "or 'continue', which marks the history as inexact", TypeConverters.toString)  # fmt: skip
    verbose = _param("verbose", "1: progress, 0: nothing", TypeConverters.toInt)


class CheckpointParams(KeywordParams):
    checkpointDir = _param("checkpointDir", "where checkpoints are kept: a folder that driver and workers share, or a "
                           "URL that fsspec knows; fit goes on from the newest one there (default: none are made)",
                           TypeConverters.toString)  # fmt: skip
    checkpointInterval = _param("checkpointInterval", "from one checkpoint to the next, in checkpointUnit; the end of "
                                "the fit always makes one", TypeConverters.toInt)  # fmt: skip
    checkpointUnit = _param("checkpointUnit", "what checkpointInterval counts: 'epochs', 'steps' or 'seconds'",
                            TypeConverters.toString)  # fmt: skip
    checkpointKeep = _param("checkpointKeep", "how many checkpoints stay; older ones are removed", TypeConverters.toInt)


class ClassifierOutputs(HasProbabilityCol, HasThresholds, HasRawPredictionCol, KeywordParams):
    """The columns of a classifier's predictions besides prediction."""


class OutputKind(KeywordParams):
    outputKind = _param("outputKind", "what the model gives: 'auto', 'logits', 'probabilities' or 'logProbabilities'",
                        TypeConverters.toString)  # fmt: skip


class ClassWeights(KeywordParams):
    classWeight = _param("classWeight", "what a row counts in training by its class: a dict of classes to numbers, "
                         "those that are not in it count 1, or 'balanced' (rows / (classes x rows of the class)); "
                         "weightCol multiplies it (default: all count alike)", as_class_weight)  # fmt: skip


class NamedTensors(KeywordParams):
    """Several labels and outputs by name."""

    labelCols = _param("labelCols", "label names to columns, or a list of columns, instead of labelCol", _names)
    labelTypes = _param("labelTypes", "dtypes of labels by name (default: by loss and column, float32 or int64)",
                        types_by_name("labelTypes"))  # fmt: skip
    outputCols = _param("outputCols", "columns for the model's outputs, in their order (default: predictionCol for a "
                        "single one, else the outputs' names)", TypeConverters.toListString)  # fmt: skip


class EstimatorParams(DataParams, ModuleParams, TrainParams, ValidationParams, GangParams, CheckpointParams):
    def _set_defaults(self) -> None:
        self._setDefault(strategy=as_compiled("allreduce"),
                         assign="hash", directScan=True, onBadRow="error", optimizer="adam", lrScheduleUnit="steps",
                         batchSize=256, accumulate=1, epochs=1, seed=0, shuffle=True, clipNorm=0.0, clipValue=0.0,
                         onNaN="error", restoreBest=False, cacheFrozen=True, batchNorm="shard", precision="fp32",
                         reduceDtype="fp32", saveOptimizer=False,
                         numWorkers=1, startTimeout=600.0, heartbeatTimeout=10.0, workerTimeout=60.0, maxRestarts=3,
                         onWorkerLost="wait", onChangedRows="error", verbose=1, checkpointInterval=1,
                         checkpointUnit="epochs", checkpointKeep=2)  # fmt: skip
