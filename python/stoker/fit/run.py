"""One fit, from the checked parameters to the trained weights."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from stoker import batch_norm, engine, evaluation, order, program, strategy
from stoker.callback import Callback, Control
from stoker.checkpoint.course import Course
from stoker.errors import UserError, WorldError
from stoker.events import Admitted, Event, Log, Reading, ResultCame, Slots, Started
from stoker.fit import strategies
from stoker.fit.compiling import Prepared
from stoker.fit.frozen import apart
from stoker.fit.rows_told import warn_of_one_class, warn_of_skew, warn_of_skipped
from stoker.fit.settings import FitSettings
from stoker.health.doctor import brief
from stoker.history import History
from stoker.observe import Sinks
from stoker.observe.callbacks import Callbacks
from stoker.observe.log import LogSink, name_of_fit
from stoker.observe.progress import Progress, make_progress
from stoker.observe.story import Story
from stoker.optimizer import rate_scale
from stoker.optimizer_state import OptimizerState
from stoker.program import Compiled
from stoker.spark import launch, scan, shards
from stoker.spark.columns import Source
from stoker.spark.job import was_cancelled
from stoker.spark.limits import memory
from stoker.spark.no_numbers import with_place
from stoker.spark.placement import Placement, late_shards
from stoker.spark.session import Conf, conf_of
from stoker.spark.table import Table

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
        if name is not None and not self.reached(name):
            self.enter(name)

    def reached(self, name: str) -> bool:
        return name == self._name or name in self.seconds


@dataclass(frozen=True)
class Fitted:
    compiled: Compiled  # with the trained weights
    history: History
    optimizer: OptimizerState | None = None  # where it is to be kept


def fit(settings: FitSettings, table: Table, prepared: Prepared, sources: Sequence[Source], optimizer: dict[str, Any],
        phases: Phases, begun: OptimizerState | None = None) -> Fitted:  # fmt: skip
    """Trains on the sources' columns of the table's rows. `begun`: the state that the optimizer goes on with."""
    notes = [ONE_ROW] if settings.step_rows == 1 else []
    of_model = batch_norm.notes_of(prepared.compiled.notes, settings.whole_batch, prepared.compiled.train)
    settings = replace(settings, coupled=prepared.compiled.coupled)
    of_strategy = strategies.notes_of(settings.strategy, settings.shards, optimizer["options"], settings.assign)
    for note in [*of_model, *notes, *of_strategy]:
        warnings.warn(note, stacklevel=4)
    how, ordered, spark = settings.placement, prepared.sources(sources), table.rows.sparkSession
    spec = train_spec(settings, prepared.compiled, ordered, optimizer, conf_of(spark))
    spec.update({"begun": begun.begun()} if begun else {})
    name = name_of_fit(settings.estimator)
    sinks = Sinks(phases, LogSink(name))
    course = course_of(settings, spec, prepared.compiled, sinks)
    if course is not None:
        spec["checkpoint"] = course.spec()
    frozen = apart(spec, ordered, prepared.compiled.weights, settings.cache_frozen)
    spec.update(frozen.spec)
    if frozen.why_not:
        sinks.event(Log(f"frozen parts run in each step: {frozen.why_not}"))
    found, told = scan.look(table, ordered, how, settings.direct_scan)
    if found is not None:
        spec["scan"] = found.spec()
    weights = program.weights_to_train(prepared.compiled, begun.tensors if begun else None)
    gang = launch.Gang(how.workers, how.shards, spec, weights,
                       settings.start_timeout, settings.heartbeat_timeout, engine.torch_version(), settings.rules,
                       how.assign == "partition", settings.coordinator_options, course,
                       control := Control())  # fmt: skip
    phases.enter("queue")
    if settings.watch is not None:
        sinks.add(settings.watch(control))
    sinks.add(story := Story([] if course is None else course.inexact))
    rows = piped_rows(table, ordered, how) if found is None else no_rows(spark, how.shards)
    try:
        with callbacks_of(settings.callbacks, control, name, sinks) as end:
            result = _run(rows, gang, sinks, make_progress(settings.verbose, settings.epochs))
            end(result.history)
    except UserError as error:
        raise with_place(error, table, ordered) from error
    except WorldError as error:
        raise advised(error, phases, spark, how.workers) from error.__cause__
    phases.enter("finish")
    result.history.update(story.info(), ingest=told, **frozen.told(result.history, story.not_kept))
    if settings.scale_rate is not None:
        result.history["rate_scale"] = rate_scale(settings.scale_rate, settings.step_rows)
    warn_of_skipped(result.history["skipped"])
    warn_of_skew(result.history["shard_rows"], how)
    warn_of_one_class(result.history.get("epochs", []))
    if course is not None:
        result.history.update(course.history())
    home = program.load_weights(result.weights)
    fitted = _fitted(prepared.compiled, home, result, phases)
    trained = (begun.epochs if begun else 0) + len(fitted.history)
    kept = OptimizerState.of(home, optimizer["options"]["name"], trained)
    return replace(fitted, optimizer=kept)


def advised(error: WorldError, phases: Phases, spark: SparkSession, workers: int) -> WorldError:
    """With what keeps workers from meeting, where they never did."""
    if phases.reached("train") or was_cancelled(error):
        return error
    found = brief(spark, workers)
    return type(error)(f"{error}. {found}") if found else error


def course_of(settings: FitSettings, spec: dict[str, Any], compiled: Compiled, sinks: Sinks) -> Course | None:
    """The checkpoints that are asked for."""
    if settings.checkpoints is None:
        return None

    def warn(text: str) -> None:
        sinks.event(Log(text, warning=True))

    return Course(settings.checkpoints, spec, compiled.weights, engine.torch_version(), warn)


@contextlib.contextmanager
def callbacks_of(callbacks: Sequence[Callback] | None, control: Control, name: str,
                 sinks: Sinks) -> Iterator[Callable[[dict[str, Any]], None]]:  # fmt: skip
    """Meanwhile they are told of the fit's events; the function is told of its history, once it has one."""
    if not callbacks:
        yield lambda history: None
        return
    told = Callbacks(callbacks, control, name)
    ended: list[dict[str, Any]] = []
    sinks.add(told)
    try:
        yield ended.append
    finally:
        told.close(*ended)


def no_rows(session: SparkSession, shards: int) -> launch.Rows:
    """For tasks that read files."""

    def tasks(count: int) -> DataFrame:
        return session.range(0, count, 1, count)

    def late(workers: int, most: int) -> DataFrame:
        return tasks(len(late_shards(workers, most, shards)))

    return launch.Rows(session, tasks, lambda workers, partition: tasks(1), late)


def piped_rows(table: Table, sources: Sequence[Source], how: Placement) -> launch.Rows:
    """Rows that Spark brings, for any number of workers."""

    def whole(workers: int) -> DataFrame:
        return shards.place(table, sources, replace(how, workers=workers))

    def part(workers: int, partition: int) -> DataFrame:
        return shards.place_part(table, sources, replace(how, workers=workers), partition)

    def late(workers: int, most: int) -> DataFrame:
        return shards.place_late(table, sources, replace(how, workers=workers), most)

    by_hash = how.assign == "hash"
    return launch.Rows(table.rows.sparkSession, whole, part if by_hash else None, late if by_hash else None)


def evaluation_spec(settings: FitSettings, program: Any) -> dict[str, Any]:
    stopping = settings.stopping
    return {**evaluation.of_program(program, settings.eval_metrics or []), **stopping}


def train_spec(settings: FitSettings, compiled: Compiled, sources: Sequence[Source], optimizer: dict[str, Any],
               conf: Conf) -> dict[str, Any]:  # fmt: skip
    """What engine/train/spec.h reads."""
    evaluated = {"evaluation": evaluation_spec(settings, compiled.evaluation)} if settings.validates else {}
    return {
        **evaluated,
        **strategy.spec_of(settings.strategy),
        **({"keep_optimizer": True} if settings.save_optimizer else {}),
        **({"reduce_dtype": settings.reduce_dtype} if settings.reduce_dtype != "fp32" else {}),
        **({"whole_batch": True} if settings.whole_batch and batch_norm.by_batch(compiled.train) else {}),
        **({"accumulate": settings.accumulate} if settings.accumulate > 1 else {}),
        "program": compiled.train,
        "optimizer": optimizer["options"],
        "groups": [optimizer["groups"].get(entry["name"], 0) for entry in compiled.train["parameters"]],
        "columns": [source.spec() for source in sources],
        "on_bad_row": settings.on_bad_row,
        "batch_size": settings.batch_size,
        "epochs": settings.epochs,
        "max_steps": settings.max_steps or 0,
        "max_seconds": settings.max_seconds or 0.0,
        "seed": settings.seed,
        "shuffle": settings.shuffle,
        "shards": settings.shards,
        "threads": settings.threads or int(conf("spark.task.cpus") or 1),
        "clip_norm": settings.clip_norm,
        "clip_value": settings.clip_value or optimizer.get("clip_value", 0.0),
        "on_nan": settings.on_nan,
        **({"report_every": 0} if settings.watch is not None else {}),
        "store": memory.asked(settings.store_memory, settings.num_workers, conf),
    }


def _run(rows: launch.Rows, gang: launch.Gang, sinks: Sinks, progress: Progress) -> launch.Result:
    sinks.add(progress)
    try:
        result = launch.run_gang(rows, gang, sinks.event)
    finally:
        progress.close()
    result.history.update(order.told(result.history))
    return result


def _fitted(compiled: Compiled, home: dict[str, Any], result: launch.Result, phases: Phases) -> Fitted:
    trained = {name: home.get(name, initial) for name, initial in compiled.weights.items()}
    history = History(result.history.pop("epochs", []), result.history)
    phases.enter("done")
    history.info["phases"] = phases.seconds
    return Fitted(replace(compiled, weights=trained), history)
