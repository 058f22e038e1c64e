"""One fit, from the checked parameters to the trained weights."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from stoker import engine, evaluation, program, strategy
from stoker.checkpoint.course import Course, Wish
from stoker.errors import UserError
from stoker.events import Admitted, Event, Log, Reading, ResultCame, Slots, Started
from stoker.fit.checks import shards_of, validates
from stoker.fit.compiling import Prepared
from stoker.fit.rows_told import warn_of_skew, warn_of_skipped
from stoker.history import History
from stoker.observe import Sinks
from stoker.observe.log import LogSink
from stoker.observe.progress import Progress, make_progress
from stoker.observe.story import Story
from stoker.program import Compiled
from stoker.spark import columns, launch, scan
from stoker.spark.columns import Source
from stoker.spark.limits import memory, slots
from stoker.spark.no_numbers import with_place
from stoker.spark.placement import Held, Placement, late_shards

ONE_ROW = "batchSize=1: a step takes two rows at least, so this fit is that of batchSize=2"
# Reading: Spark shuffles the rows before a task of ours begins; else reading begins with the first task.
_PHASE_AFTER = {Slots: "start", Reading: "ingest", Admitted: "ingest", Started: "train", ResultCame: "finish"}


class Phases:
    """Seconds by phase; each second belongs to exactly one. A sink of events."""

    def __init__(self, first: str) -> None:
        self.seconds: dict[str, float] = {}
        self._name, self._since = first, time.perf_counter()

    def enter(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._since
        self._name, self._since = name, now

    def event(self, event: Event) -> None:
        """Enters the phase that it begins, if it does. Phases do not go back."""
        name = _PHASE_AFTER.get(type(event))
        if name is not None and name != self._name and name not in self.seconds:
            self.enter(name)


@dataclass(frozen=True)
class Fitted:
    compiled: Compiled  # with the trained weights
    history: History
    state: dict[str, Any]  # what else came home: the optimizer's state


def fit(estimator: Any, df: DataFrame, prepared: Prepared, sources: Sequence[Source], optimizer: dict[str, Any],
        phases: Phases) -> Fitted:  # fmt: skip
    """Trains on the sources' columns of `df` as the estimator's parameters say."""
    value = estimator.value
    notes = [ONE_ROW] if value("batchSize") == 1 else []
    for note in [*prepared.compiled.notes, *notes]:
        warnings.warn(note, stacklevel=4)
    how = Placement(value("numWorkers"), shards_of(value), value("assign"), value("idCol"), held_of(value))
    ordered = prepared.sources(sources)
    spec = train_spec(value, prepared.compiled, ordered, optimizer, df.sparkSession)
    sinks = Sinks(phases, LogSink())
    course = course_of(value, spec, prepared.compiled, sinks)
    if course is not None:
        spec["checkpoint"] = course.spec()
    found, told = scan.look(df, ordered, how, value("directScan"))
    if found is not None:
        spec["scan"] = found.spec()
    rules = launch.Rules(value("minWorkers"), value("maxRestarts"), value("workerTimeout"),
                         value("onWorkerLost") == "continue")  # fmt: skip
    options = {"allow_changed_rows": value("onChangedRows") == "continue", **estimator._gang_options}
    gang = launch.Gang(how.workers, how.shards, json.dumps(spec), program.weights_to_train(prepared.compiled),
                       value("startTimeout"), value("heartbeatTimeout"), engine.torch_version(),
                       rules, how.assign == "partition", options, course)  # fmt: skip
    phases.enter("queue")
    sinks.add(story := Story([] if course is None else course.inexact))
    rows = piped_rows(df, ordered, how) if found is None else no_rows(df.sparkSession, how.shards)
    try:
        result = _run(rows, gang, sinks, make_progress(value("verbose"), value("epochs")))
    except UserError as error:
        raise with_place(error, df, ordered) from error
    phases.enter("finish")
    result.history.update(story.info(), ingest=told)
    warn_of_skipped(result.history["skipped"])
    warn_of_skew(result.history["shard_rows"], how)
    if course is not None:
        result.history.update(course.history())
    return _fitted(prepared.compiled, result, phases)


def held_of(value: Callable[[str], Any]) -> Held | None:
    if not validates(value):
        return None
    return Held(value("validationIndicatorCol") or "", value("validationFraction") or 0.0)


def course_of(value: Callable[[str], Any], spec: dict[str, Any], compiled: Compiled, sinks: Sinks) -> Course | None:
    """The checkpoints that the parameters ask for."""
    if value("checkpointDir") is None:
        return None
    wish = Wish(value("checkpointDir"), value("checkpointInterval"), value("checkpointUnit"), value("checkpointKeep"))

    def warn(text: str) -> None:
        sinks.event(Log(text, warning=True))

    return Course(wish, spec, compiled.weights, engine.torch_version(), warn)


def no_rows(session: SparkSession, shards: int) -> launch.Rows:
    """For tasks that read files."""

    def tasks(count: int) -> DataFrame:
        return session.range(0, count, 1, count)

    def late(workers: int, most: int) -> DataFrame:
        return tasks(len(late_shards(workers, most, shards)))

    return launch.Rows(session, tasks, lambda workers, partition: tasks(1), late)


def piped_rows(df: DataFrame, sources: Sequence[Source], how: Placement) -> launch.Rows:
    """Rows that Spark brings, for any number of workers."""

    def whole(workers: int) -> DataFrame:
        return columns.place(df, sources, replace(how, workers=workers))

    def part(workers: int, partition: int) -> DataFrame:
        return columns.place_part(df, sources, replace(how, workers=workers), partition)

    def late(workers: int, most: int) -> DataFrame:
        return columns.place_late(df, sources, replace(how, workers=workers), most)

    by_hash = how.assign == "hash"
    return launch.Rows(df.sparkSession, whole, part if by_hash else None, late if by_hash else None)


def evaluation_spec(value: Callable[[str], Any], program: dict[str, Any]) -> dict[str, Any]:
    names = value("evalMetrics") or []
    rules = evaluation.rules(value("earlyStopping"), names, value("restoreBest"))
    return {**evaluation.of_program(program, names), **rules}


def train_spec(value: Callable[[str], Any], compiled: Compiled, sources: Sequence[Source], optimizer: dict[str, Any],
               spark: SparkSession) -> dict[str, Any]:  # fmt: skip
    """What engine/train/spec.h reads. `value` gives a parameter's value."""
    evaluated = {"evaluation": evaluation_spec(value, compiled.evaluation)} if validates(value) else {}
    return {
        **evaluated,
        **strategy.spec_of(value("strategy")),
        "program": compiled.train,
        "optimizer": optimizer["options"],
        "groups": [optimizer["groups"].get(entry["name"], 0) for entry in compiled.train["parameters"]],
        "columns": [source.spec() for source in sources],
        "on_bad_row": value("onBadRow"),
        "batch_size": value("batchSize"),
        "epochs": value("epochs"),
        "seed": value("seed"),
        "shuffle": value("shuffle"),
        "shards": shards_of(value),
        "threads": value("threads") or int(slots.conf_of(spark)("spark.task.cpus") or 1),
        "clip_norm": value("clipNorm"),
        "clip_value": value("clipValue"),
        "on_nan": value("onNaN"),
        "store": memory.asked(value("storeMemory"), value("numWorkers"), slots.conf_of(spark)),
    }


def _run(rows: launch.Rows, gang: launch.Gang, sinks: Sinks, progress: Progress) -> launch.Result:
    sinks.add(progress)
    try:
        return launch.run_gang(rows, gang, sinks.event)
    finally:
        progress.close()


def _fitted(compiled: Compiled, result: launch.Result, phases: Phases) -> Fitted:
    home = program.load_weights(result.weights)
    trained = {name: home.pop(name, initial) for name, initial in compiled.weights.items()}
    history = History(result.history.pop("epochs", []), result.history)
    phases.enter("done")
    history.info["phases"] = phases.seconds
    return Fitted(replace(compiled, weights=trained), history, home)
