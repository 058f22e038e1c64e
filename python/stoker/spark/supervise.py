"""What the driver does about the Spark jobs of a fit while its gang trains. Pure, with the clock passed in.

A lost worker is started again by Spark where Spark does that (retries of a task). Where it does not, the driver does:
by a *rescue*, a job for the rows of the missing places, or, when a job has failed as a whole or a place stays empty for
too long, by a *restart*: another job for everybody, which goes on from the newest commit that is left. Where fewer
workers than wished may train and no more of them come, the job begins anew with those that there are: it *shrinks*.
While fewer train than wished, a job of its own offers Spark the places of *late* workers: the gang *grows*.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from stoker.events import Admitted, Event, Failed, Finished, GivenUp, Halted, OfWorker, Started
from stoker.spark.job import cause_of, was_cancelled

SETTLE = 0.2  # seconds, where the cause is known to be a lost worker
LATE = 5.0  # seconds without another worker after which a gang that may be smaller begins
GRACE = 1.0  # seconds that a result or a cause may take longer than the Spark job that it belongs to


@dataclass(frozen=True)
class Rules:
    min_workers: int | None = None  # with how many a fit may begin; None: all
    max_restarts: int = 3
    worker_timeout: float = 60  # seconds a place may stay empty; 0: no limit
    go_on: bool = False  # without the rows of a lost worker, when its place has stayed empty for so long
    backoff: float = 0.5  # seconds before the second restart, doubled for each one after it


@dataclass
class Situation:
    """What is known of the jobs and the places. Times are seconds of one steady clock."""

    workers: int = 1  # places of the newest job
    living: set[int] = field(default_factory=set)
    came_at: float = 0  # the newest worker
    started: bool = False  # has the newest job's gang formed?
    missing: dict[int, float] = field(default_factory=dict)  # place to the time of its loss
    idle: set[int] = field(default_factory=set)  # places that are empty, and others do their work
    losses: int = 0  # since the newest job began
    ended_at: float | None = None  # of all jobs
    error: BaseException | None = None  # of a job
    grew_at: float | None = None  # the newest job for late workers
    restarts: int = 0
    causes: list[str] = field(default_factory=list)  # why each job was given up
    last_loss: str = ""
    lost: dict[int, str] = field(default_factory=dict)  # the last one of each place

    def after(self, event: Event, now: float) -> None:
        """Takes in what the coordinator tells."""
        match event:
            case OfWorker() | GivenUp() | Finished() if event.rank >= self.workers:
                pass  # a late one: nobody waits for it
            case Admitted():
                self.living.add(event.rank)
                self.came_at = now
                self._fill(event.rank)
            case Failed():
                self.living.discard(event.rank)
                self._miss_idle(now)
                if not event.on_purpose:
                    self._lose(event, now)
            case Halted():
                self._miss_idle(now)
            case GivenUp():
                self._fill(event.rank)
            case Finished():
                self.living.discard(event.rank)
            case Started():
                self.started = True
                self.idle |= set(self.missing)  # others have their rows
                self.missing = {}

    def _fill(self, place: int) -> None:
        self.missing.pop(place, None)
        self.idle.discard(place)

    def _miss_idle(self, now: float) -> None:
        """Whoever did the work of these places may be gone."""
        for place in self.idle:
            self.missing.setdefault(place, now)
        self.idle = set()

    def _lose(self, lost: Failed, now: float) -> None:
        self.missing.setdefault(lost.rank, now)
        self.losses += 1
        self.lost[lost.rank] = self.last_loss = str(lost)

    def begin_again(self, workers: int) -> None:
        """Another job takes the place of those that there are."""
        self.living, self.missing, self.losses, self.ended_at, self.error = set(), {}, 0, None, None
        self.idle = set()
        self.workers, self.started, self.grew_at = workers, False, None

    def restarted(self, cause: str) -> None:
        self.restarts += 1
        self.causes.append(cause)


@dataclass(frozen=True)
class Move:
    kind: str  # "wait", "restart", "shrink" or "give up"
    reason: str = ""
    workers: int = 0  # of the next job
    delay: float = 0.0  # seconds before a restart


def next_move(now: float, s: Situation, rules: Rules) -> Move:
    why = _why_hopeless(now, s, rules)
    if why is None:
        return _shrink(now, s, rules) or Move("wait")
    if s.error is not None and (was_cancelled(s.error) or not s.losses):
        return Move("give up", why)
    if s.losses and s.restarts < rules.max_restarts:
        delay = 0.0 if s.restarts == 0 else rules.backoff * 2 ** (s.restarts - 1)
        stayed_empty = 0 if s.error is not None else len(s.missing)
        return Move("restart", why, max(s.workers - stayed_empty, 1), delay)
    return Move("give up", why)


def _shrink(now: float, s: Situation, rules: Rules) -> Move | None:
    few = len(s.living)
    enough = rules.min_workers is not None and rules.min_workers <= few < s.workers
    if s.started or s.losses or not enough or now - s.came_at < LATE:
        return None
    return Move("shrink", f"{few} of {s.workers} workers have come, and minWorkers is {rules.min_workers}", few)


def may_grow(now: float, s: Situation, most: int, last: tuple[bool, BaseException | None] | None) -> bool:
    """Whether another job for late workers may begin. `last`: whether the newest one has ended, and its error."""
    if not s.started or s.missing or s.idle or s.workers >= most:
        return False
    if last is None or s.grew_at is None:
        return True
    ended, error = last
    return ended and error is None and now - s.grew_at >= LATE


def _why_hopeless(now: float, s: Situation, rules: Rules) -> str | None:
    """Why no result can be expected of the jobs that there are."""
    patience = SETTLE if s.losses else GRACE
    if s.ended_at is not None and now - s.ended_at > patience:
        if s.error is not None:
            cause = f"{s.last_loss}; " if s.losses else ""
            return f"{cause}the Spark job of this fit ended: {cause_of(s.error)}"
        if not s.living:
            cause = f"{s.last_loss}; " if s.losses else ""
            return f"{cause}the Spark job of this fit ended, but no result came"
    late = [place for place, since in s.missing.items() if 0 < rules.worker_timeout <= now - since]
    if late and not (rules.go_on and s.started and s.living):  # the coordinator gives the place up
        return f"{s.last_loss}; no other attempt took its place within {rules.worker_timeout:g} s (workerTimeout)"
    return None
