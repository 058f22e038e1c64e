"""Transformers that run a program, which they compile when it is first needed."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

from pyspark.ml import Transformer
from pyspark.ml.util import MLReadable, MLWritable
from pyspark.sql import DataFrame

from stoker import program
from stoker.errors import UserError
from stoker.fit import slicing
from stoker.inputs.declarations import items_of
from stoker.inputs.declared import Declared
from stoker.ml import persist
from stoker.ml.params import InputParams
from stoker.ml.scoring import Inferred, scored
from stoker.spark import checks
from stoker.spark.outputs import Values
from stoker.spark.table import Table
from stoker.spark.weights import carried


class Running(Transformer, InputParams, MLReadable, MLWritable):
    """What StokerFeaturizer and StokerOnnxModel share. A model is compiled as it is then; frozen, never changed."""

    WHAT: ClassVar[str]  # "featurizer": what it is, in an error's words
    MODELS: ClassVar[tuple[str, ...]]  # params that the model is given by
    COLUMNS: ClassVar[str]  # the param that names what it adds
    DECIDES: ClassVar[tuple[str, ...]]  # params that are compiled in beside it

    def __init__(self) -> None:
        super().__init__()
        self._saved: Inferred | None = None  # of one that was loaded
        self._made: tuple[Any, Inferred] | None = None  # what was compiled, and of what
        self._compiled_in: dict[str, Any] = {}  # params of what was loaded, which cannot change any more

    def _ready(self) -> Any:
        """Itself, or a copy with the inputs that its model has."""
        raise NotImplementedError

    def _added(self) -> dict[str, str]:
        """The columns that it adds, by what names them."""
        raise NotImplementedError

    def _outputs(self, made: Inferred) -> Values:
        raise NotImplementedError

    def _compile(self, table: Table | None) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """The inference program, and the weights that it reads."""
        raise NotImplementedError

    def _transform(self, df: DataFrame) -> DataFrame:
        checks.check_dataframe(df, "transform")
        table = Table.of(df)
        checks.check_absent(table, self._added())
        told = self._ready()
        made = told._inferred(table)
        self._made = told._made
        outputs = told._outputs(made)
        checks.check_absent(table, {f"{self.COLUMNS}[{name!r}]": name for name in outputs.names})
        return scored(told, table, df, made, outputs)

    def _inferred(self, table: Table | None) -> Inferred:
        """Compiled when first asked for, or anew when a parameter has changed."""
        if self._saved is not None and self._is_loaded():
            self._check_as_saved()
            return self._saved
        key = (
            *[version_of(self.value(name)) for name in self.MODELS],
            *[repr(self.value(name)) for name in self.DECIDES],
        )
        if self._made is None or self._made[0] != key:
            infer, weights = self._compile(table)
            self._made = key, Inferred(infer, carried(program.save_weights(weights)))
        return self._made[1]

    def _is_loaded(self) -> bool:
        """Whether it runs what it was saved with."""
        return self._saved is not None and not any(map(self.isSet, self.MODELS))

    def _check_as_saved(self) -> None:
        for name, was in self._compiled_in.items():
            if self.value(name) != was:
                raise UserError(f"this {self.WHAT} was loaded; it was compiled with {name}={was!r}. To change that, "
                                f"set {self.MODELS[0]} too")  # fmt: skip

    def _check_complete(self) -> None:
        for name, entry in (self.value("inputs") or {}).items():
            for item in items_of(entry):
                if isinstance(item, Declared) and item.learner is not None:
                    raise UserError(f"inputs['{name}']: {item} learns from rows, and a {self.WHAT} learns nothing: "
                                    "give inputs=stoker.inputs.learn(df, inputs)")  # fmt: skip

    def write(self) -> RunningWriter:
        return RunningWriter(self)

    @classmethod
    def read(cls) -> RunningReader:
        return RunningReader(cls)


def version_of(model: Any) -> tuple[Any, ...]:
    """Which one it is; of a path, what changes when the file does."""
    if not isinstance(model, str | PathLike):
        return (id(model),)
    try:
        told = Path(model).stat()
    except OSError:  # whoever reads it says so
        return (str(model),)
    return (str(model), told.st_mtime_ns, told.st_size)


class RunningWriter(persist.Writer):
    """It is saved as its compiled program, so the shape of its input must be known, or it has transformed rows."""

    def content(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        told = self.instance._ready()
        made = told._inferred(None)
        self.instance = told = told.copy()
        for name in told.MODELS:
            told.clear(told.getParam(name))
        return {**slicing.to_files(made.infer, made.weights.data), **persist.declared_inputs(told)}, {}


class RunningReader(persist.StokerReader):
    def _estimator(self, path: str, files: Mapping[str, bytes], metadata: Mapping[str, Any]) -> Any:
        instance = self.cls()
        infer, weights = persist.readable(path, slicing.from_files, files)
        instance._saved = Inferred(infer, carried(weights))
        return instance

    def compiled_in(self) -> tuple[str, ...]:
        return self.cls.DECIDES  # type: ignore[attr-defined]
