"""The file that says what a command does: YAML or JSON, checked before Spark is asked for anything."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from stoker.errors import UserError, did_you_mean

CODE = "python:"  # before the name of a thing in a module
READING = ("path", "table", "format", "schema", "options", "select", "where")
WRITING = ("path", "table", "format", "mode", "options")


@dataclass(frozen=True)
class Job:
    file: Path
    told: Mapping[str, Any]

    def need(self, key: str) -> Any:
        if key not in self.told:
            raise UserError(f"{self.file} has no '{key}'")
        return self.told[key]

    def section(self, key: str, known: tuple[str, ...]) -> Mapping[str, Any]:
        """A path alone stands for {path: ...}."""
        told = self.need(key)
        told = {"path": told} if isinstance(told, str) else told
        check_keys(self.file, told, known, f"{key}.")
        told = without_empty(told)
        check_mapping(self.file, told.get("options", {}), f"{key}.options")
        if ("path" in told) == ("table" in told):
            raise UserError(f"{self.file}: {key} needs a path or a table")
        return told


def read(file: str, known: tuple[str, ...], changes: Iterable[str] = ()) -> Job:
    """With changes of it as KEY=VALUE. Raises UserError where it cannot be read, or has a key that is not known."""
    path = Path(file)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--config {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--config {file} is no text in UTF-8: {error}") from error
    told = parse(path, text)
    check_mapping(path, told, "the file")
    for change in changes:
        told = changed(path, told, change)
    check_keys(path, told, known)
    return Job(path, without_empty(told))


def changed(file: Path, told: Mapping[str, Any], change: str) -> dict[str, Any]:
    """Dots of the key lead into sections; a value that is no JSON is a text."""
    key, equals, value = change.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"--set {change}: it must be KEY=VALUE, such as params.epochs=5")
    try:
        told_value = json.loads(value)
    except ValueError:
        told_value = value
    return _with(file, told, key.split("."), told_value, key)


def _with(file: Path, told: Any, path: list[str], value: Any, key: str) -> dict[str, Any]:
    check_mapping(file, told, f"what --set {key} leads into")
    first, *rest = path
    return {**told, first: _with(file, told.get(first) or {}, rest, value, key) if rest else value}


def without_empty(told: Mapping[str, Any]) -> dict[str, Any]:
    """A key without a value is a key that is not there."""
    return {key: value for key, value in told.items() if value is not None}


def parse(path: Path, text: str) -> Any:
    if path.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise UserError(f"{path} is no JSON: {error}") from error
    try:
        import yaml
    except ImportError as error:
        raise UserError(f"{path}: YAML needs the package pyyaml here; install it, or write JSON") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is no YAML: {error}") from error


def check_keys(file: Path, told: Any, known: tuple[str, ...], within: str = "") -> None:
    check_mapping(file, told, within.rstrip(".") or "the file")
    for key in told:
        if key not in known:
            raise UserError(f"{file} has '{within}{key}', which is not known{did_you_mean(str(key), known)}"
                            f" It may have: {', '.join(known)}")  # fmt: skip


def check_mapping(file: Path, told: Any, what: str) -> None:
    if not isinstance(told, Mapping):
        raise UserError(f"{file}: {what} must be keys with values, not {told!r}")


def thing(file: Path, name: str) -> Any:
    """What module:name is, of a module on the path or beside the file."""
    module, colon, attribute = name.removeprefix(CODE).partition(":")
    if not colon:
        raise UserError(f"{file}: '{name}' must be module:name, such as networks:build")
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{file}: '{name}' cannot be had: {error}") from error


def params(file: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Values that begin with "python:" are things of modules."""
    check_mapping(file, told, "params")
    return {key: thing(file, value) if isinstance(value, str) and value.startswith(CODE) else value
            for key, value in told.items()}  # fmt: skip


def rows(spark: SparkSession, told: Mapping[str, Any]) -> DataFrame:
    if "table" in told:
        df = spark.table(told["table"])
    else:
        reader = spark.read.format(told.get("format", "parquet")).options(**told.get("options", {}))
        df = (reader.schema(told["schema"]) if "schema" in told else reader).load(told["path"])
    df = df.where(told["where"]) if "where" in told else df
    return df.selectExpr(*told["select"]) if "select" in told else df


def write(df: DataFrame, told: Mapping[str, Any]) -> None:
    writer = df.write.format(told.get("format", "parquet")).mode(told.get("mode", "error"))
    writer = writer.options(**told.get("options", {}))
    writer.saveAsTable(told["table"]) if "table" in told else writer.save(told["path"])
