"""Whether a fit under faults kept its promises."""

from __future__ import annotations

from typing import Any

from faults.killer import Killer
from stoker.events import Failed, Metrics, Started


def complaints(killer: Killer, history: dict[str, Any], reference: dict[str, Any], shards: int) -> list[str]:
    """What was broken; none: the model is that of the undisturbed run `reference`, and it came by recovery."""
    return [*_other_bits(history, reference), *_too_much_work(killer, history, reference, shards),
            *_other_processes(killer), *_lost_commits(killer)]  # fmt: skip


def _other_bits(history: dict[str, Any], reference: dict[str, Any]) -> list[str]:
    wrong = [name for name in ("digest", "losses") if history[name] != reference[name]]
    return [f"other {name} than without deaths" for name in wrong]


def deaths_of(killer: Killer) -> int:
    return len(killer.told(Failed))


def _too_much_work(killer: Killer, history: dict[str, Any], reference: dict[str, Any], shards: int) -> list[str]:
    """Each time the gang breaks no more than the step at hand is done again. What breaks it is a death, or a frame
    that was lost or spoilt. Counted twice: by the state itself, and by the workers, who forget nothing."""
    breaks = max(deaths_of(killer), len(killer.told(Started)) - 1)
    limit = reference["micro_batches"] + breaks * shards
    done = max(history["micro_batches"], sum(killer.ledger.values()))
    return [f"{done} micro-batches where {limit} were enough"] if done > limit else []


def _other_processes(killer: Killer) -> list[str]:
    """Who was not struck has one pid."""
    struck = {hit.pid for hit in killer.hits}
    replaced = {place: pids[:-1] for place, pids in killer.pids.items()}
    return [f"worker {place}: pid {pid} was replaced, and nothing had struck it"
            for place, pids in replaced.items() for pid in pids if pid not in struck]  # fmt: skip


def _lost_commits(killer: Killer) -> list[str]:
    """Nobody trains a step anew that he has told of before: that would be another start, not a recovery."""
    found: list[str] = []
    newest: dict[int, int] = {}
    for event in killer.told(Metrics):
        rank, step = event.rank, event.step
        if step < newest.get(rank, 0):
            found.append(f"worker {rank} went back from step {newest[rank]} to step {step}")
        newest[rank] = max(step, newest.get(rank, 0))
    return found
