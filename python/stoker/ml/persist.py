"""Saving and loading through Spark's own readers and writers, so that a path means what it means elsewhere in Spark.

A saved directory has
  metadata/  one line of JSON: Spark ML's metadata (class, uid, params) and "stoker": {format, version, files, info}
  files/     Parquet rows (name, part, bytes): the programs, the weights, the history, cut in parts
The metadata is written last, so a save that was cut short has none. Nothing is pickled. All of it is made before
anything is written, so what cannot be saved changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pyspark.ml.util import DefaultParamsReader, MLReader, MLWriter
from pyspark.sql import SparkSession

from stoker.errors import UserError
from stoker.evaluation import as_saved
from stoker.fit.compiling import Prepared
from stoker.fit.settings import validates
from stoker.history import History
from stoker.inputs import declarations
from stoker.ml import hugging_files, places
from stoker.ml.params import RENAMED
from stoker.ml.places import condition
from stoker.optimizer_state import OptimizerState
from stoker.program import Compiled

R = TypeVar("R")
FORMAT = "stoker-directory"
VERSION = 1
PART = 16 << 20  # bytes of one row
INPUTS = "inputs.json"
KERAS = "keras.json"  # the configuration of a Keras model
_NOT_JSON = ("model", "modelPayload", "loss", "optimizer", "callbacks", "initialModel", "tokenizer")
_COMPILED_IN = ("lossReduction", "mix", "outputKind", "inputShape", "inputTypes", "labelTypes", "freeze", "classWeight",
                "precision")  # fmt: skip


class Writer(MLWriter):
    def __init__(self, instance: Any) -> None:
        super().__init__()
        self.instance = instance

    def save(self, path: str) -> None:
        spark, (files, info) = self.sparkSession, self.content()
        metadata = metadata_of(spark, self.instance, files, info)

        def write(folder: str) -> None:
            write_files(spark, folder, files)
            spark.createDataFrame([(metadata,)], "value string").coalesce(1).write.text(_below(folder, "metadata"))

        places.fill(spark, path, self.shouldOverwrite, write)

    def content(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        raise NotImplementedError


class ModelWriter(Writer):
    def content(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        model = self.instance
        files = {**model._compiled.to_files(), "history.json": model.history.to_json().encode()}
        config = model._keras_config()
        files |= {KERAS: config.encode()} if config is not None else {}
        kept = model._optimizer
        files |= kept.to_file() if kept is not None else {}
        return {**files, **declared_inputs(model), **model._own_files()}, {
            "outputKind": model.output_kind,
            "labels": list(model._label_words),
            "labelRules": model._label_rules,
            **({"optimizerState": kept.info} if kept is not None else {}),
        }


class EstimatorWriter(Writer):
    """An estimator is saved as its compiled program, so the shape of its input must be known."""

    def content(self) -> tuple[dict[str, bytes], dict[str, Any]]:
        estimator = self.instance
        if estimator._saved is None and estimator.value("model") is None:
            return {**declared_inputs(estimator), **estimator._own_files()}, {}
        estimator = estimator._with_module()
        prepared, _ = estimator._prepare(None)
        info = {"outputKind": prepared.output_kind, "labelRules": prepared.label_rules}
        if not isinstance(estimator.value("optimizer"), str) or estimator._saved_optimizer is not None:
            info["optimizer"] = estimator._unscheduled_optimizer(prepared)
        return {**prepared.compiled.to_files(), **declared_inputs(estimator), **estimator._own_files()}, info


class StokerReader(MLReader):
    def __init__(self, cls: type) -> None:
        super().__init__()
        self.cls = cls

    def load(self, path: str) -> Any:
        metadata = read_metadata(self.sparkSession, path, self.cls)
        files = read_files(self.sparkSession, path, metadata["stoker"]["files"])
        made = self._model if "history.json" in files else self._estimator
        instance = made(path, files, metadata)
        instance._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(instance, _of_today(metadata, instance))
        if INPUTS in files:
            instance._set(inputs=declarations.from_json(json.loads(files[INPUTS])))
        if getattr(instance, "_saved", None) is not None:
            instance._compiled_in = {name: instance.value(name) for name in self.compiled_in()}
        return instance

    def compiled_in(self) -> tuple[str, ...]:
        """Params of an estimator that cannot change any more."""
        return _COMPILED_IN

    def _model(self, path: str, files: Mapping[str, bytes], metadata: Mapping[str, Any]) -> Any:
        history = History.from_json(files["history.json"].decode())
        model = self.cls(compiled_of(path, files), history, metadata["stoker"]["info"].get("outputKind"))
        model.keras_config = files[KERAS].decode() if KERAS in files else None
        model._label_rules = metadata["stoker"]["info"].get("labelRules")
        model._label_words = tuple(metadata["stoker"]["info"].get("labels", ()))
        model._take_own_files(files)
        model._optimizer = OptimizerState.from_files(files, metadata["stoker"]["info"].get("optimizerState", {}))
        return model

    def _estimator(self, path: str, files: Mapping[str, bytes], metadata: Mapping[str, Any]) -> Any:
        instance, info = self.cls(), metadata["stoker"]["info"]
        instance._take_own_files(files)
        if "train.json" in files:
            instance._saved = Prepared(compiled_of(path, files), info.get("outputKind"), info.get("labelRules", {}))
            instance._saved_optimizer = info.get("optimizer")
        return instance


def declared_inputs(instance: Any) -> dict[str, bytes]:
    """Declarations with all that they learnt; a vocabulary is too long for a line of metadata."""
    told = instance.value("inputs")
    return {INPUTS: json.dumps(declarations.to_json(told)).encode()} if declarations.has_declared(told) else {}


def check_still_fits(estimator: Any, inputs: list[Mapping[str, Any]],
                     beside: Mapping[str, str | None]) -> None:  # fmt: skip
    """What was compiled into a loaded estimator cannot change without the module."""
    goes_on = estimator.value("initialModel") is not None
    what = "initialModel is trained as it was" if goes_on else "this estimator was loaded"
    for name in (
        "loss",
        *(
            ()
            if estimator._compiled_in
            else ("lossReduction", "mix", "outputKind", "freeze", "classWeight", "precision")
        ),
    ):
        if estimator.hasParam(name) and estimator.isSet(name):
            raise UserError(f"{what}; its {name} is compiled in. To change the {name}, set model too")
    for name, was in estimator._compiled_in.items():
        if estimator.value(name) != was:
            raise UserError(f"{what}; it was compiled with {name}={was!r}. To change that, set model too")
    for role, column in beside.items():
        if bool(column) != any(entry["role"] == role for entry in inputs):
            was = "without" if column else "with"
            raise UserError(f"{what}; it was compiled {was} {role}Col. To change that, set model again")
    if validates(estimator.value) and estimator._saved.compiled.evaluation is None:
        raise UserError(f"{what}; it was compiled without validation. To validate, set model again")


def write_files(spark: SparkSession, path: str, files: Mapping[str, bytes]) -> None:
    import pyarrow as pa

    parts = [
        (name, number, data[start : start + PART])
        for name, data in files.items()
        for number, start in enumerate(range(0, max(len(data), 1), PART))
    ]
    if not parts:
        return
    names, numbers, chunks = zip(*parts)
    table = pa.table({"name": pa.array(names), "part": pa.array(numbers, pa.int32()), "bytes": pa.array(chunks)})
    spark.createDataFrame(table).coalesce(1).write.parquet(_below(path, "files"))


def metadata_of(spark: SparkSession, instance: Any, files: Mapping[str, bytes], info: Mapping[str, Any]) -> str:
    told = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    metadata = {
        "class": f"{type(instance).__module__}.{type(instance).__name__}",
        "timestamp": int(time.time() * 1000),
        "sparkVersion": spark.version,
        "uid": instance.uid,
        "paramMap": _json_params(_not_in(files, instance._paramMap)),
        "defaultParamMap": _json_params(instance._defaultParamMap),
        "stoker": {"format": FORMAT, "version": VERSION, "files": told, "info": info},
    }
    return json.dumps(metadata, separators=(",", ":"))


def read_metadata(spark: SparkSession, path: str, cls: type) -> dict[str, Any]:
    try:
        first = spark.read.text(_below(path, "metadata")).first()
    except Exception as error:
        if condition(error) == "PATH_NOT_FOUND":
            raise UserError(f"'{path}' is not a saved Stoker model: it does not exist, or has no metadata (a save that "
                            f"was cut short leaves none)") from error  # fmt: skip
        raise
    try:
        metadata = json.loads(first[0])  # type: ignore[index]
        stoker = metadata["stoker"]
    except (TypeError, ValueError, KeyError):
        raise UserError(f"'{path}' is not a saved Stoker model: its metadata is foreign or cut short") from None
    if stoker.get("format") != FORMAT or stoker.get("version") != VERSION:
        raise UserError(f"'{path}' was saved in format {stoker.get('format')} {stoker.get('version')}; this version of "
                        f"Stoker reads {FORMAT} {VERSION}")  # fmt: skip
    _check_class(path, metadata["class"], cls)
    return metadata


def read_files(spark: SparkSession, path: str, told: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    if not told:
        return {}
    parts: dict[str, list[tuple[int, bytes]]] = {}
    for name, part, data in _rows(spark, path):
        parts.setdefault(name, []).append((part, data))
    files = {name: b"".join(data for _, data in sorted(pieces)) for name, pieces in parts.items()}
    for name, expected in told.items():
        if hashlib.sha256(files.get(name, b"")).hexdigest() != expected["sha256"]:
            raise UserError(f"'{path}' is damaged: {name} should have {expected['bytes']} bytes of content that it was "
                            f"saved with, and has {len(files.get(name, b''))}, or others")  # fmt: skip
    return files


def compiled_of(path: str, files: Mapping[str, bytes]) -> Compiled:
    return readable(path, Compiled.from_files, files)


def readable(path: str, read: Callable[[Mapping[str, bytes]], R], files: Mapping[str, bytes]) -> R:
    """What the files hold."""
    try:
        return read(files)
    except ValueError as error:
        raise UserError(f"'{path}' cannot be loaded: {error}") from error


def _rows(spark: SparkSession, path: str) -> list[tuple[str, int, bytes]]:
    try:
        table = spark.read.parquet(_below(path, "files")).select("name", "part", "bytes").toArrow()
    except Exception as error:
        raise UserError(f"'{path}' is damaged: its files cannot be read ({str(error).splitlines()[0]})") from error
    return list(zip(*(table.column(i).to_pylist() for i in range(3))))


def _not_in(files: Mapping[str, bytes], params: Mapping[Any, Any]) -> dict[Any, Any]:
    """Params without a tokenizer that files keep: what was at its path may be gone, or another one."""
    kept = any(name.startswith(hugging_files.BELOW) for name in files)
    return {param: value for param, value in params.items() if not (kept and param.name == "tokenizer")}


def _json_params(params: Mapping[Any, Any]) -> dict[str, Any]:
    kept = {param.name: value for param, value in params.items()}
    for name in _NOT_JSON:
        if name in kept and not isinstance(kept[name], str):
            del kept[name]
    if kept.get("evalMetrics"):
        kept["evalMetrics"] = as_saved(kept["evalMetrics"])
    if declarations.has_declared(kept.get("inputs")):
        del kept["inputs"]  # see declared_inputs
    for name, value in kept.items():
        _check_json(name, value)
    return kept


def _check_json(name: str, value: Any) -> None:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        raise UserError(f"{name} is {value!r}, which cannot be saved: give numbers, texts, booleans, lists of them, or "
                        f"a dict of names to them") from None  # fmt: skip


def _of_today(metadata: Mapping[str, Any], instance: Any) -> dict[str, Any]:
    """Models once had outputKind among their params, without effect; some params had other names."""
    maps = ("paramMap", "defaultParamMap")
    gone = {"outputKind"} - {param.name for param in instance.params}
    kept = {one: {RENAMED.get(name, name): value for name, value in metadata[one].items() if name not in gone}
            for one in maps}  # fmt: skip
    return {**metadata, **kept}


def _check_class(path: str, saved: str, cls: type) -> None:
    wanted = f"{cls.__module__}.{cls.__name__}"
    if saved != wanted:
        name = saved.rpartition(".")[2]
        raise UserError(f"'{path}' holds a {name}, not a {cls.__name__}: load it with {name}.load(path)")


def _below(path: str, name: str) -> str:
    return f"{path.rstrip('/')}/{name}"
