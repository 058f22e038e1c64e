"""StokerTextClassifier and StokerTextRegressor: a network and the tokenizer that it was pretrained with, as one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame

from stoker.errors import UserError
from stoker.fit import layout
from stoker.fit.settings import Watch, naming_of
from stoker.ml import hugging_files, tokens
from stoker.ml.accessors import (
    TextClassificationModelAccessors,
    TextClassifierAccessors,
    TextRegressionModelAccessors,
    TextRegressorAccessors,
)
from stoker.ml.estimators import StokerClassifier, StokerRegressor
from stoker.ml.models import StokerClassificationModel, StokerRegressionModel
from stoker.ml.params import KeywordParams, TextParams, documented, with_accessors
from stoker.spark.columns import Source
from stoker.spark.outputs import Outputs

_ARROW = {"int64": pa.int64(), "float32": pa.float32()}


class _WithFiles(KeywordParams):
    """What keeps a tokenizer, and a configuration of transformers, as files."""

    _hugging: hugging_files.Files = {}  # noqa: RUF012 (never changed, only replaced)
    _step: tokens.Step | None = None  # where the engine has not the tokenizer
    _cut_by: Any = None  # the tokenizer that `inputs` are known to be of

    def _own_files(self) -> dict[str, bytes]:
        return {hugging_files.BELOW + name: data for name, data in self._hugging.items()}

    def _take_own_files(self, files: Mapping[str, bytes]) -> None:
        own = {
            name.removeprefix(hugging_files.BELOW): data
            for name, data in files.items()
            if name.startswith(hugging_files.BELOW)
        }
        self._hugging = hugging_files.checked(own)

    def value(self, name: str) -> Any:
        """As of all; inputs are of textCol where it is set."""
        told = super().value(name)
        return self._fitting(told) if name == "inputs" and told and self._hugging else told

    def _fitting(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was made by a tokenizer, of the column that textCol says. UserError where another length or tokenizer is
        asked for: the model was fit with what it is."""
        self._check_length(tokens.length_of(inputs, super().value("inputShape")))
        self._check_tokenizer(inputs)
        return tokens.of_column(inputs, super().value("textCol")) if self.isSet("textCol") else inputs

    def _check_length(self, length: int | None) -> None:
        if self.isSet("maxLength") and length is not None and super().value("maxLength") != length:
            raise UserError(f"maxLength is {super().value('maxLength')}, and the model was compiled with {length}: for "
                            f"another one fit anew, with model and tokenizer set")  # fmt: skip

    def _check_tokenizer(self, inputs: Mapping[str, Any]) -> None:
        tokenizer = super().value("tokenizer")
        if tokenizer is None or tokenizer is self._cut_by:
            return
        if not tokens.is_of(inputs, tokenizer, self._hugging):
            raise UserError("tokenizer is another one than the model was fit with, and its weights go with that: leave "
                            "tokenizer out, or fit anew with model and tokenizer set")  # fmt: skip
        self._cut_by = tokenizer

    def _cutting(self) -> tokens.Step | None:
        """The step in pandas, where there is one."""
        if not tokens.is_cut_before(self.value("inputs")):
            return None
        if self._step is None:
            tokenizer = hugging_files.tokenizer_of(self._hugging)
            self._step = tokens.Step(tokenizer, self.value("textCol"), self.value("maxLength"))
        return replace(self._step, column=self.value("textCol"))


class _TextEstimator(_WithFiles, TextParams):
    """What both share: the inputs are declared by the tokenizer and the model's forward."""

    _declared = False  # whether this has been done

    def _set_defaults(self) -> None:
        super()._set_defaults()  # type: ignore[misc]
        self._setDefault(textCol="text", maxLength=128)

    def _with_module(self) -> Any:
        """Also with the inputs declared."""
        told = super()._with_module()  # type: ignore[misc]
        if told._declared or told.value("model") is None:
            return told
        if told.value("tokenizer") is None:
            raise UserError("tokenizer is not set: give a tokenizer of transformers, or the path of its folder")
        if told._saved is None and told.value("inputs"):
            raise UserError("inputs is set, and the model's inputs are made of textCol by tokenizer: leave it out")
        return told._reading(told.value("tokenizer"))

    def _reading(self, tokenizer: Any) -> Any:
        module = self._module()
        params, step = tokens.declared(tokenizer, module, self.value("textCol"), self.value("maxLength"))
        told = self.copy({self.getParam(name): value for name, value in params.items()})
        told._declared, told._step, told._cut_by = True, step, tokenizer
        told._hugging = {**hugging_files.of_tokenizer(tokenizer), **_files_of_model(self.value("model"))}
        return told

    def _going_on(self) -> Any:
        """Also with the tokenizer of initialModel; and without model, with its inputs, and its column where none is
        set."""
        told, initial = super()._going_on(), self.value("initialModel")  # type: ignore[misc]
        if initial is None:
            return told
        told._check_tokenizer_of(initial)
        if self._declared:
            return told
        own = ("textCol", "maxLength", "inputShape", "inputTypes")
        told = told.copy({told.getParam(name): initial.value(name) for name in own
                          if initial.isDefined(name) and not told.isSet(name)})  # fmt: skip
        told._hugging, told._step = self._hugging or initial._hugging, initial._step
        told._cut_by = told.value("tokenizer")
        told.value("inputs")  # checks their length
        return told

    def _learnt_by(self, initial: Any) -> dict[Any, Any]:
        """Nothing where inputs are declared: a tokenizer learns nothing."""
        return {} if self._declared else super()._learnt_by(initial)  # type: ignore[misc]

    def _check_tokenizer_of(self, initial: Any) -> None:
        tokenizer = self.value("tokenizer")
        if tokenizer is not None and tokenizer is not initial._cut_by:
            initial.copy({initial.tokenizer: tokenizer}).value("inputs")

    def _fit_watched(self, df: DataFrame, watch: Watch | None = None) -> Any:
        told = self._with_module()._going_on()
        step = told._cutting()
        return super(_TextEstimator, told)._fit_watched(df if step is None else step.added_to(df), watch)  # type: ignore[misc]

    def _make_model(self, fitted: Any, prepared: Any) -> Any:
        model = super()._make_model(fitted, prepared)  # type: ignore[misc]
        model._hugging = hugging_files.with_labels(self._hugging, self._label_words)
        model._step, model._cut_by = self._step, self._cut_by
        return model


def _files_of_model(module: Any) -> hugging_files.Files:
    """What a folder of Hugging Face has, where the model is one of transformers."""
    from stoker.frontend.foreign import is_hugging

    return hugging_files.of_model(module) if is_hugging(module) else {}


class _TextModel(_WithFiles, TextParams):
    """What both share: texts are cut as they were for the fit."""

    _compiled: Any

    def _transform(self, df: DataFrame) -> DataFrame:
        step = self._cutting()
        if step is None:
            return super()._transform(df)  # type: ignore[misc]
        return step.dropped_from(super()._transform(step.added_to(df)))  # type: ignore[misc]

    def evaluate(self, df: DataFrame, metrics: Sequence[str] | None = None, weightCol: str | None = None,
                 groupCol: str | None = None) -> dict[str, Any]:  # fmt: skip
        """As of other models."""
        step = self._cutting()
        told = df if step is None else step.added_to(df)
        return super().evaluate(told, metrics, weightCol, groupCol)  # type: ignore[misc]

    def _answer(self, value: Any, outputs: Outputs) -> list[Any]:
        """Of one text that is here."""
        if not isinstance(value, str):
            raise UserError(f"this model takes a text, not a {type(value).__name__}")
        sources = layout.features_of_program(naming_of(self), None, self._compiled.infer["inputs"])
        specs = json.dumps([source.spec() for source in sources])
        scorer = self._inferred().here(outputs)
        return [column[0] for column in scorer.alone(specs, self._sent(value, sources))]

    def _sent(self, text: str, sources: list[Source]) -> dict[str, pa.Array]:
        step = self._cutting()
        if step is None:
            return {sources[0].sent[0].name: pa.array([text])}
        found = dict(zip((tokens.IDS, tokens.MASK), step.cut([text])))
        return {one.sent_as: pa.array(found[one.columns[0]], pa.list_(_ARROW[one.dtype])) for one in sources}

    def save_hf(self, path: str) -> None:
        """Writes a folder, new or empty, that plain transformers loads (AutoModel..., AutoTokenizer.from_pretrained):
        config.json, model.safetensors with the trained weights, and the tokenizer's files. `path` is on the driver.

        Raises:
            UserError: the model that was fit is none of transformers, the program has not all its weights, or there is
                something at `path`.
        """
        if hugging_files.CONFIG not in self._hugging:
            raise UserError("the model that was fit is none of transformers, so there is no folder of Hugging Face for "
                            "it: save() keeps it, torch() gives it back")  # fmt: skip
        files = {name: data for name, data in self._hugging.items() if name != hugging_files.NAMES}
        names = json.loads(self._hugging[hugging_files.NAMES])
        hugging_files.write(path, files, self._compiled.state(), names)


@with_accessors
class StokerTextClassificationModel(TextClassificationModelAccessors, _TextModel, StokerClassificationModel):
    """What StokerTextClassifier.fit gives: adds rawPrediction, probability and prediction for the texts of textCol.

    Example:
        >>> from pyspark.sql import SparkSession
        >>> from tokenizers import BertWordPieceTokenizer
        >>> from torch import nn
        >>> from stoker import StokerTextClassifier
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
        >>> tokenizer = BertWordPieceTokenizer({word: number for number, word in enumerate(words)})
        >>> train = spark.range(60).selectExpr("IF(id % 3 = 0, 'Good', 'bad') as text", "int(id % 3 = 0) as label")
        >>> net = nn.Sequential(nn.Embedding(7, 8), nn.Flatten(), nn.Linear(32, 2))
        >>> model = StokerTextClassifier(model=net, tokenizer=tokenizer, maxLength=4, verbose=0).fit(train)
        >>> model.transform(train).columns
        ['text', 'label', 'rawPrediction', 'probability', 'prediction']
    """


@with_accessors
class StokerTextRegressionModel(TextRegressionModelAccessors, _TextModel, StokerRegressionModel):
    """What StokerTextRegressor.fit gives: adds prediction for the texts of textCol.

    Example:
        >>> from pyspark.sql import SparkSession
        >>> from tokenizers import BertWordPieceTokenizer
        >>> from torch import nn
        >>> from stoker import StokerTextRegressor
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
        >>> tokenizer = BertWordPieceTokenizer({word: number for number, word in enumerate(words)})
        >>> train = spark.range(60).selectExpr("IF(id % 3 = 0, 'Good', 'bad') as text", "int(id % 3 = 0) as label")
        >>> net = nn.Sequential(nn.Embedding(7, 8), nn.Flatten(), nn.Linear(32, 1))
        >>> model = StokerTextRegressor(model=net, tokenizer=tokenizer, maxLength=4, verbose=0).fit(train)
        >>> model.transform(train).columns
        ['text', 'label', 'prediction']
    """


@documented
class StokerTextClassifier(TextClassifierAccessors, _TextEstimator, StokerClassifier):
    """Trains a classifier of texts: a model of transformers for sequence classification, or any model over token
    numbers and their mask (forward's first two arguments), with the tokenizer that it goes with. Labels as of
    StokerClassifier.

    WordPiece and byte-level BPE run in the engine; another tokenizer of transformers runs in pandas before it, on the
    executors, which then need transformers.

    Example:
        >>> from pyspark.sql import SparkSession
        >>> from tokenizers import BertWordPieceTokenizer
        >>> from torch import nn
        >>> from stoker import StokerTextClassifier
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
        >>> tokenizer = BertWordPieceTokenizer({word: number for number, word in enumerate(words)})
        >>> train = spark.range(60).selectExpr("IF(id % 3 = 0, 'Good', 'not bad') as text", "int(id % 3 = 0) as label")
        >>> net = nn.Sequential(nn.Embedding(7, 8), nn.Flatten(), nn.Linear(32, 2))
        >>> estimator = StokerTextClassifier(model=net, tokenizer=tokenizer, maxLength=4, learningRate=0.05,
        ...                                  batchSize=20, epochs=20, verbose=0)
        >>> model = estimator.fit(train)
        >>> model.predict("good"), model.predict("not bad")
        (1.0, 0.0)
    """

    _model_class = StokerTextClassificationModel


@documented
class StokerTextRegressor(TextRegressorAccessors, _TextEstimator, StokerRegressor):
    """Trains a regressor of texts, as StokerTextClassifier trains a classifier. Labels as of StokerRegressor.

    Example:
        >>> from pyspark.sql import SparkSession
        >>> from tokenizers import BertWordPieceTokenizer
        >>> from torch import nn
        >>> from stoker import StokerTextRegressor
        >>> spark = SparkSession.builder.master("local[2]").getOrCreate()
        >>> words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
        >>> tokenizer = BertWordPieceTokenizer({word: number for number, word in enumerate(words)})
        >>> train = spark.range(60).selectExpr("IF(id % 3 = 0, 'Good', 'bad') as text", "IF(id % 3 = 0, 5, 1) as label")
        >>> net = nn.Sequential(nn.Embedding(7, 8), nn.Flatten(), nn.Linear(32, 1))
        >>> estimator = StokerTextRegressor(model=net, tokenizer=tokenizer, maxLength=4, learningRate=0.05,
        ...                                 batchSize=20, epochs=60, verbose=0)
        >>> round(estimator.fit(train).predict("good"))
        5
    """

    _model_class = StokerTextRegressionModel
