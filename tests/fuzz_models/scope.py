"""What a generated module is written into: lines of __init__ and of forward, and the values so far."""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

INDENT = "    "
LARGEST = 160  # values of one row; what is larger is brought down


def choices(table: str) -> list[str]:
    return [text.strip() for text in table.split("|")]


@dataclass(frozen=True)
class Value:
    """A float tensor in forward; the shape is that of one row."""

    name: str
    shape: tuple[int, ...]

    @property
    def dims(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass
class Program:
    """The source file: classes that are finished, lines between the classes and the data."""

    rng: random.Random
    classes: list[str] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def name(self, stem: str) -> str:
        number = self.numbers.get(stem, 0)
        self.numbers[stem] = number + 1
        return f"{stem}{number}"


class Scope:
    """One class of nn.Module that is being written."""

    def __init__(self, program: Program, depth: int = 0):
        self.program, self.rng, self.depth = program, program.rng, depth
        self.made: list[str] = []
        self.methods: list[str] = []
        self.body: list[str] = []
        self.values: list[Value] = []
        self.layers: dict[str, tuple[str, int]] = {}  # attribute -> its class, width of what it takes
        self.indent = 2

    def line(self, text: str) -> None:
        self.body.append(INDENT * self.indent + text)

    def make(self, text: str) -> None:
        self.made.append(INDENT * 2 + text)

    def layer(self, text: str, stem: str) -> str:
        name = f"self.{self.program.name(stem)}"
        self.make(f"{name} = {text}")
        return name

    def let(self, text: str, shape: tuple[int, ...]) -> Value:
        value = Value(self.program.name("h"), shape)
        self.line(f"{value.name} = {text}")
        self.values.append(value)
        return value

    def same(self, value: Value, text: str) -> Value:
        return self.let(text, value.shape)

    @contextlib.contextmanager
    def block(self, head: str) -> Iterator[None]:
        self.line(head)
        self.indent += 1
        yield
        self.indent -= 1

    def pick(self) -> Value:
        """Mostly what was made last."""
        return self.values[-1] if self.rng.random() < 0.8 else self.rng.choice(self.values)

    def partner(self, value: Value) -> Value:
        """A value of the same shape, itself where there is no other."""
        return self.rng.choice([other for other in self.values if other.shape == value.shape])

    def scalar(self) -> str:
        return repr(self.rng.choice([0.5, 2.0, -1.0, 0.1, 1.5, 3.0, -0.25]))

    def text(self, name: str, arguments: str) -> str:
        lines = [f"class {name}(nn.Module):", f"{INDENT}def __init__(self):", f"{INDENT * 2}super().__init__()"]
        lines += [*self.made, *self.methods, "", f"{INDENT}def forward(self, {arguments}):", *self.body]
        return "\n".join(lines)


@dataclass(frozen=True)
class Rule:
    write: Callable[[Scope, Value], Value | None]
    weight: float
    dims: tuple[int, ...]


RULES: list[Rule] = []


def rule(weight: float = 1.0, dims: tuple[int, ...] = (1, 2, 3)):
    """Registers a way to go on from a value whose row has one of these numbers of dimensions."""

    def register(write):
        RULES.append(Rule(write, weight, dims))
        return write

    return register


def step(scope: Scope, kinds: list[Rule] | None = None) -> Value:
    """One more statement, or a few, in forward."""
    value = scope.pick()
    rules = [rule for rule in (kinds or RULES) if value.dims in rule.dims]
    while True:
        [chosen] = scope.rng.choices(rules, [rule.weight for rule in rules])
        result = chosen.write(scope, value)
        if result is not None:
            return small(scope, result)


def small(scope: Scope, value: Value) -> Value:
    while value.size > LARGEST:
        value = scope.let(f"{value.name}.mean({value.dims})", value.shape[:-1])
    return value
