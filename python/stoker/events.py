"""What happens in a fit, in order: what the coordinator tells (engine/gang/coordinator.h), and what the driver does.

`parse` is the only place that knows the coordinator's JSON. Everybody else takes these.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, ClassVar

from stoker.errors import BugError

SENT_AWAY = ("replaced", "dismissed")  # workers that were lost on purpose
_VERBS = {"failed": "failed", "refused": "was refused", **dict.fromkeys(SENT_AWAY, "was sent away")}  # else lost


@dataclass(frozen=True)
class Event:
    """As a string: a line for people, of those that are worth one."""

    name: ClassVar[str] = ""


Observer = Callable[[Event], None]
"""Told of each event, in order, by one thread."""


# --- of the driver ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queued(Event):
    """Other fits of the session hold the slots that this one waits for."""

    name = "queued"
    workers: int
    slots: int
    taken: int

    def __str__(self) -> str:
        return f"waiting for slots: other fits hold {self.taken} of the session's {self.slots}"


@dataclass(frozen=True)
class Slots(Event):
    """The fit has its slots."""

    name = "slots"
    workers: int
    slots: int | None  # of the session, if known

    def __str__(self) -> str:
        known = "" if self.slots is None else f" (slots of the session: {self.slots})"
        return f"Spark is asked for {_workers(self.workers)}{known}"


@dataclass(frozen=True)
class Reading(Event):
    """Spark begins to bring rows."""

    name = "reading"


@dataclass(frozen=True)
class Waiting(Event):
    """Workers are awaited still."""

    name = "waiting"
    come: int
    workers: int
    slots: int | None

    def __str__(self) -> str:
        slots = "" if self.slots is None else f" (slots of the session: {self.slots})"
        return f"{self.come} of {self.workers} workers have come{slots}"


@dataclass(frozen=True)
class JobAgain(Event):
    """Another Spark job takes the place of those that there are."""

    text: str  # why
    workers: int  # of the next job

    def __str__(self) -> str:
        return f"the Spark job is started again with {_workers(self.workers)}: {self.text}"


@dataclass(frozen=True)
class Restart(JobAgain):
    """The Spark job is started again, for everybody."""

    name = "restart"


@dataclass(frozen=True)
class Shrink(JobAgain):
    """The Spark job is started again for the workers that have come: no more of them do."""

    name = "shrink"


@dataclass(frozen=True)
class RescueJob(Event):
    """A Spark job begins for the rows of a place whose worker Spark does not start again."""

    name = "rescue_job"
    rank: int
    lost: str = ""  # how

    def __str__(self) -> str:
        return f"{self.lost}; Spark starts nobody there: a rescue begins, a Spark job for its rows alone"


# --- of the coordinator -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OfWorker(Event):
    """One attempt of a worker's task."""

    rank: int  # its place among the tasks
    host: str
    pid: int
    attempt: int

    @property
    def who(self) -> str:
        return f"worker {self.rank} (host {self.host}, pid {self.pid})"


@dataclass(frozen=True)
class Admitted(OfWorker):
    """A worker has come, for an attempt at its Spark task."""

    name = "admitted"
    attempt_number: int = 0  # 0: Spark has not tried before
    torch: str = ""
    isa: int = 0

    def __str__(self) -> str:
        again = f", in attempt {self.attempt_number + 1} of its task" if self.attempt_number else ""
        return f"{self.who} has come{again}"


@dataclass(frozen=True)
class Ingesting(Event):
    """A worker reads its rows."""

    name = "ingesting"
    rank: int
    rows: int  # so far


@dataclass(frozen=True)
class Ingested(Event):
    """All rows of a worker are there."""

    name = "ingested"
    rank: int
    rows: int
    shards: int

    def __str__(self) -> str:
        return f"worker {self.rank} has read {self.rows:,} rows"


@dataclass(frozen=True)
class Started(Event):
    """A generation has formed, and trains."""

    name = "started"
    generation: int
    workers: int
    late: int  # of the workers: those beyond the number that the job began with
    shards: int
    rows: int
    commit: int  # that it begins with; 0: none
    step: int  # training steps that are done, of all epochs: the unit of Metrics.step and Failed.step
    isa: int
    text: str
    lending: bool = False  # it begins only so that workers of one host lend each other their rows

    def __str__(self) -> str:
        if self.generation == 1:
            return f"training begins with {_workers(self.workers)}: {self.rows:,} rows in {self.shards} shards"
        after = f" after step {self.step}" if self.commit else ""
        return f"training goes on{after} with {_workers(self.workers)}: {self.text}"


@dataclass(frozen=True)
class Halted(Event):
    """A generation is over."""

    name = "halted"
    generation: int
    text: str

    def __str__(self) -> str:
        return f"training stops: {self.text}"


@dataclass(frozen=True)
class Metrics(Event):
    """What a rank says of the epoch under way."""

    name = "metrics"
    rank: int
    step: int  # committed ones of all epochs
    epoch: int  # from 1
    step_of_epoch: int
    steps_of_epoch: int
    epochs: int
    steps_of_commit: int = 1  # but the last ones of an epoch may be fewer
    evaluates: bool = False  # each epoch ends with a commit more, of no step
    commits_of_leg: int = 0  # of steps, after which there is such a commit in an epoch too; 0: only at its end
    micro_batches: int = 0  # that its process has run
    loss: float | None = None  # None: not a number
    accuracy: float | None = None
    loss_sum: float | None = None  # of the epoch so far; None: not a number
    loss_weight: float = 0.0  # what it is a mean over
    val_loss: float | None = None  # with the last word of an epoch
    steps: int = 0
    rows: int = 0
    seconds: float = 0.0
    rows_per_s: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    bytes_sent: int = 0
    bound_by: str = ""
    skipped_steps: int = 0  # of the epoch
    ended: bool = False  # the epoch has
    scores: dict[str, Any] = field(default_factory=dict)  # of the evaluation, by name, with the last word of an epoch
    evaluations: list[dict[str, Any]] = field(default_factory=list)  # made since, where an epoch has several
    past: list[dict[str, Any]] = field(default_factory=list)  # epochs before it, as the history has them, now and then
    told_rate: float | None = None  # of learning, that a callback has set
    told_at: int = 0  # after so many steps


@dataclass(frozen=True)
class NotKept(Event):
    """A worker runs the frozen parts in each step from now on."""

    name = "not_kept"
    rank: int
    not_kept: str  # why

    def __str__(self) -> str:
        return f"worker {self.rank} runs frozen parts in each step: {self.not_kept}"


@dataclass(frozen=True)
class RowsTold(Event):
    """What became of a worker's rows. One that comes again tells again."""

    name = "rows"
    rank: int
    skipped: dict[str, int] = field(default_factory=dict)  # left out, by reason
    disk: dict[str, int] = field(default_factory=dict)  # bytes of rows, and taken on disk, where they are there


@dataclass(frozen=True)
class Slower(Event):
    """What was asked for runs, but not as fast as it does elsewhere: why."""

    name = "slower"
    rank: int
    slower: str

    def __str__(self) -> str:
        return self.slower


@dataclass(frozen=True)
class CheckpointPart(Event):
    """A part is there, or failed: engine/train/checkpoints.h."""

    name = "checkpoint"
    step: int
    part: int
    of: int
    begin: int  # of its bytes in the whole
    bytes: int
    size: int  # of its file
    digest: str
    stall: float  # seconds that training stood still
    seconds: float
    rank: int = -1
    state: dict[str, Any] = field(default_factory=dict)  # what the manifest says of it; of the first part
    error: str = ""

    @property
    def file(self) -> str:
        return f"part-{self.part}-of-{self.of}"


@dataclass(frozen=True)
class ResultCame(Event):
    """The trained weights have come home."""

    name = "result"
    rank: int
    bytes: int
    digest: str

    def __str__(self) -> str:
        return f"the model is here: {self.bytes:,} bytes"


@dataclass(frozen=True)
class Finished(Event):
    """A worker has ended as it should."""

    name = "finished"
    rank: int
    step: int

    def __str__(self) -> str:
        return f"worker {self.rank} has ended"


@dataclass(frozen=True)
class Failed(OfWorker):
    """A worker was lost."""

    name = "failed"
    how: str  # "failed", "vanished", "silent", "stuck", "refused"; on purpose: SENT_AWAY
    text: str
    step: int = -1  # training steps of all epochs, the last one that it told of; -1: none
    kind: str = ""  # of its error: "user", "world", "aborted" or "bug"

    @property
    def on_purpose(self) -> bool:
        return self.how in SENT_AWAY

    def __str__(self) -> str:
        verb = _VERBS.get(self.how, "was lost")
        when = "before the first step" if self.step < 0 else f"at step {self.step}"
        return f"{self.who} {verb} {when}: {self.text}"


@dataclass(frozen=True)
class Rescue(Event):
    """Spark does not start these places' workers again."""

    name = "rescue"
    partitions: list[int]


@dataclass(frozen=True)
class Disturbed(Event):
    """The model will not be that of an undisturbed fit."""

    rank: int
    text: str  # why

    def __str__(self) -> str:
        return f"the model will not be that of an undisturbed fit: {self.text}"


@dataclass(frozen=True)
class Inexact(Disturbed):
    """A worker has other rows than before, or computes otherwise than the rest."""

    name = "inexact"


@dataclass(frozen=True)
class GivenUp(Disturbed):
    """Training goes on without a worker's rows."""

    name = "given_up"


@dataclass(frozen=True)
class Log(Event):
    """Something else that a person may want to know, or should ("warning")."""

    name = "log"
    text: str
    warning: bool = False
    rank: int | None = None
    host: str = ""
    pid: int = 0
    attempt: int = 0

    def __str__(self) -> str:
        return self.text


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


_TOLD = (Admitted, Ingesting, Ingested, Started, Halted, Metrics, CheckpointPart, ResultCame, Finished,
         Failed, Rescue, Inexact, GivenUp, Log)  # fmt: skip
_BY_NAME: dict[str, type[Event]] = {cls.name: cls for cls in _TOLD}


def parse(name: str, text: str) -> Event:
    """What the coordinator tells. Particulars that are not known here are left out."""
    told = json.loads(text)
    cls = class_of(name, told)
    if cls is Metrics:
        told["scores"] = {key: value for key, value in told.items() if key.startswith("val_")}
    try:
        return cls(**{key: value for key, value in told.items() if key in keys_of(cls)})  # type: ignore[arg-type]
    except TypeError as error:
        raise BugError(f"the coordinator told '{name}' without all its particulars: {error}") from error


def class_of(name: str, told: dict[str, Any]) -> type[Event]:
    if name == "metrics" and "step" not in told:  # of no step
        return Slower if "slower" in told else NotKept if "not_kept" in told else RowsTold
    if name not in _BY_NAME:
        raise BugError(f"the coordinator told something of an unknown kind: '{name}'")
    return _BY_NAME[name]


@cache
def keys_of(cls: type[Event]) -> frozenset[str]:
    return frozenset(f.name for f in fields(cls))
