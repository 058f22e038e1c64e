"""python -m stoker fit, transform and evaluate."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from pyspark.ml.util import DefaultParamsReader
from pyspark.sql import SparkSession

from stoker.cli import job, session
from stoker.cli.job import Job
from stoker.errors import UserError, did_you_mean
from stoker.ml import estimators, places

ESTIMATORS = {name: getattr(estimators, name) for name in ("StokerClassifier", "StokerRegressor", "StokerEstimator")}
KEYS = {  # of the files of each command
    "fit": ("estimator", "model", "params", "data", "output", "overwrite"),
    "transform": ("model", "data", "output"),
    "evaluate": ("model", "data", "metrics"),
}
HELP = {
    "fit": "trains a model on rows and saves it; goes on from params.checkpointDir",
    "transform": "adds a saved model's columns to rows",
    "evaluate": "scores a saved model on rows with labels, as a line of JSON",
}


def add_to(commands: Any) -> None:
    runs: dict[str, Callable[[SparkSession, Job], None]] = {"fit": fit, "transform": transform, "evaluate": evaluate}
    for name, run in runs.items():
        command = commands.add_parser(name, help=HELP[name])
        session.add_options(command)
        command.add_argument("--config", required=True, help="the job: a file of YAML or JSON, see docs/commands.md")
        command.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE",
                             help="another value than the file has, such as params.epochs=5")  # fmt: skip
        command.set_defaults(run=_with_session(name, run))


def _with_session(name: str, run: Callable[[SparkSession, Job], None]) -> Callable[[argparse.Namespace], int]:
    def run_job(asked: argparse.Namespace) -> int:
        told = job.read(asked.config, KEYS[name], asked.changes)
        with session.opened(asked, f"stoker {name}") as spark:
            run(spark, told)
        return 0

    return run_job


def fit(spark: SparkSession, told: Job) -> None:
    estimator, path = estimator_of(told), told.need("output")
    if not told.told.get("overwrite", False):
        places.check_free(spark, path)
    model = estimator.fit(job.rows(spark, told.section("data", job.READING)))
    writer = model.write().overwrite() if told.told.get("overwrite", False) else model.write()
    writer.save(path)
    print(model.history)
    print(f"saved to {path}")


def estimator_of(told: Job) -> Any:
    name = told.need("estimator")
    if name not in ESTIMATORS:
        raise UserError(f"{told.file}: estimator is {name!r}; it may be {', '.join(ESTIMATORS)}"
                        f"{did_you_mean(str(name), ESTIMATORS)}")  # fmt: skip
    params = job.params(told.file, told.told.get("params", {}))
    try:
        return ESTIMATORS[name](model=job.thing(told.file, told.need("model")), **params)
    except TypeError as error:
        raise UserError(f"{told.file}: params: {error}") from error


def transform(spark: SparkSession, told: Job) -> None:
    into = told.section("output", job.WRITING)
    model = load(spark, told)
    job.write(model.transform(job.rows(spark, told.section("data", job.READING))), into)


def evaluate(spark: SparkSession, told: Job) -> None:
    scores = load(spark, told).evaluate(job.rows(spark, told.section("data", job.READING)), told.told.get("metrics"))
    print(json.dumps(scores))


def load(spark: SparkSession, told: Job) -> Any:
    """A saved model, of whatever class it is."""
    path = told.need("model")
    try:
        return DefaultParamsReader.loadParamsInstance(path, spark)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"no model could be loaded from '{path}': {str(error).splitlines()[0]}") from error
