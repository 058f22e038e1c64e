"""Which shards a worker owns and which rows it reads: pure, and light enough for a worker to load."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Held:
    """Which rows are held out for validation: those that a boolean column marks, or a share of all by their hash."""

    column: str = ""
    fraction: float = 0.0


@dataclass(frozen=True)
class Placement:
    """Which row goes to which shard, and which shard to which task."""

    workers: int
    shards: int
    assign: str = "hash"
    id_column: str | None = None
    held: Held | None = None


def owner_of(shard: int, workers: int, shards: int) -> int:
    """The worker that owns a shard: worker r has shards r*S//W to (r+1)*S//W."""
    return ((shard + 1) * workers - 1) // shards


def owned_shards(worker: int, workers: int, shards: int) -> list[int]:
    return list(range(worker * shards // workers, (worker + 1) * shards // workers))


def late_shards(workers: int, most: int, shards: int) -> list[list[int]]:
    """What each late worker holds, so that `workers` become up to `most`: the shards that the first ones own beyond a
    fair share of all, dealt evenly. Nobody owns more than a fair share once all have come; who would own nothing is
    left out."""
    fair = -(-shards // most)
    beyond = [shard for worker in range(workers) for shard in owned_shards(worker, workers, shards)[fair:]]
    late = min(most - workers, len(beyond))
    return [beyond[i * len(beyond) // late : (i + 1) * len(beyond) // late] for i in range(late)]


def held_shards(worker: int, workers: int, most: int, shards: int) -> list[int]:
    """Whose rows a worker reads, late or not."""
    if worker < workers:
        return owned_shards(worker, workers, shards)
    return late_shards(workers, most, shards)[worker - workers]


def stored_shards(shards: list[int], of: int, validates: bool) -> list[int]:
    """Those that the rows of some shards, of so many, are stored as: rows that are held out have their own."""
    return [*shards, *[of + shard for shard in shards]] if validates else shards
