"""What is to happen to the workers of a fit: drawn from a seed, printed, carried out by a Killer. Pure."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field

from faults.points import POINTS, Point

KINDS = [
    "outside",
    "points",
    "two-at-once",
    "points",
    "newcomer",
    "points",
    "re-forming",
    "points",
    "stopped",
    "outside",
]
MODELS = ["mlp", "cnn"]
MARGIN = 0.12  # of the steps, at the beginning and the end, where few deaths are ordered
MOSTLY = 0.7  # of the orders at a point are to die there, or what the point is for


@dataclass(frozen=True)
class Order:
    """One fault. At a point the worker does it to itself, else it comes from outside by pid."""

    place: int
    how: str  # "die", "freeze", "hang", "slow:MS", "busy:MS", "drop", "corrupt"; from outside "kill", "stop"
    at: int = 0  # the step, or the occasion of a point that knows no step
    point: str = ""
    attempt: int = 0  # of the place
    after: str = "metrics"  # the event that an order from outside waits for; of "metrics" the one at the step
    wake_after: float | None = None  # seconds from the stop until it goes on; None: never

    def entry(self) -> str:
        return f"{self.point}@{self.at}={self.how}"


@dataclass(frozen=True)
class Schedule:
    seed: int
    kind: str
    model: str
    workers: int
    steps: int
    tcp: bool = False
    checkpoints: bool = False
    orders: tuple[Order, ...] = ()

    def environment(self, place: int, attempt: int) -> str:
        """STOKER_FAULTS of an attempt."""
        mine = [o.entry() for o in self.orders if o.point and (o.place, o.attempt) == (place, attempt)]
        return ";".join(mine)

    def outside(self) -> list[Order]:
        return [order for order in self.orders if not order.point]

    def to_json(self) -> dict:
        return asdict(self)


@dataclass
class Draw:
    """One schedule in the making."""

    seed: int
    steps: int
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(f"stoker-{self.seed}")

    def schedule(self) -> Schedule:
        kind = KINDS[self.seed % len(KINDS)]
        points = self._points_in_turn() if kind == "points" else []
        least = max([2 if kind in ("two-at-once", "re-forming") else 1, *(point.workers for point in points)])
        workers = self.random.randint(least, 4)
        orders = self._points(workers, points) if points else getattr(self, "_" + kind.replace("-", "_"))(workers)
        tcp, checkpoints = any(p.tcp for p in points), any(p.checkpoints for p in points)
        return Schedule(
            self.seed, kind, self.random.choice(MODELS), workers, self.steps, tcp, checkpoints, tuple(orders)
        )

    def _points_in_turn(self) -> list[Point]:
        """Two at a time, so that each has its share."""
        turn = self.seed // len(KINDS) * KINDS.count("points") + KINDS[: self.seed % len(KINDS)].count("points")
        return [POINTS[(2 * turn + i) % len(POINTS)] for i in (0, 1)]

    def step(self) -> int:
        return round(self.steps * self.random.uniform(MARGIN, 1 - MARGIN))

    def _outside(self, workers: int) -> list[Order]:
        deaths = 1 + self.random.randrange(4)
        return [Order(self.random.randrange(workers), "kill", self.step()) for _ in range(deaths)]

    def _points(self, workers: int, points: list[Point]) -> list[Order]:
        """On different places where there are several, else on one attempt after the other."""
        orders: list[Order] = []
        for point, place in zip(points, self._places(workers, points), strict=True):
            attempt = max([point.attempt, *(order.attempt + 1 for order in orders if order.place == place)])
            if point.attempt > 0:
                orders.append(Order(place, "kill", self.step()))
            orders.append(self._at(point, place, attempt))
        return orders

    def _places(self, workers: int, points: list[Point]) -> list[int]:
        if workers == 1:
            return [0] * len(points)
        places = self.random.sample(range(workers), len(points))
        for i, point in enumerate(points):
            if point.rank is not None and places[i] != point.rank:
                other = places.index(point.rank) if point.rank in places else None
                if other is not None:
                    places[other] = places[i]
                places[i] = point.rank
        return places

    def _at(self, point: Point, place: int, attempt: int) -> Order:
        how = point.ways[0] if self.random.random() < MOSTLY else self.random.choice(point.ways)
        at = self.step() if point.steps else 1 + self.random.randrange(point.occasions)
        wake = self.random.choice([0.3, 4.0, None]) if how == "freeze" else None
        return Order(place, how, at, point.name, attempt, wake_after=wake)

    def _two_at_once(self, workers: int) -> list[Order]:
        step = self.step()
        return [Order(place, "kill", step) for place in self.random.sample(range(workers), 2)]

    def _newcomer(self, workers: int) -> list[Order]:
        place = self.random.randrange(workers)
        point = self.random.choice(["ingest-end", "handed-out", "take-over" if workers > 1 else "hand-out"])
        return [Order(place, "kill", self.step()), Order(place, "die", 1, point, attempt=1)]

    def _re_forming(self, workers: int) -> list[Order]:
        first, second = self.random.sample(range(workers), 2)
        return [Order(first, "kill", self.step()), Order(second, "kill", after="halted")]

    def _stopped(self, workers: int) -> list[Order]:
        wake = self.random.uniform(0.2, 4.0)
        return [Order(self.random.randrange(workers), "stop", self.step(), wake_after=round(wake, 2))]


def draw(seed: int, steps: int) -> Schedule:
    return Draw(seed, steps).schedule()
