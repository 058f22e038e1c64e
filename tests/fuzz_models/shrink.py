"""Makes a program that fails smaller, as long as it fails in the same way."""

from __future__ import annotations

import ast
import copy
import time
from collections.abc import Callable, Iterator

Fails = Callable[[str], bool]


def shrink(source: str, fails: Fails, seconds: float = 90) -> str:
    """The smallest that was found: statements left out, blocks replaced by what is in them, calls by an argument."""
    until = time.monotonic() + seconds
    smallest = ast.unparse(ast.parse(source))
    if not fails(smallest):
        return source
    shrunk = True
    while shrunk and time.monotonic() < until:
        shrunk = False
        number = 0
        while time.monotonic() < until and (candidate := nth(smallest, number)) is not None:
            if candidate != smallest and fails(candidate):
                smallest, shrunk = candidate, True
            else:
                number += 1
    return smallest


def nth(source: str, number: int) -> str | None:
    """The source after the n-th possible change, None where there are not so many."""
    tree = ast.parse(source)
    for index, change in enumerate(changes(tree)):
        if index == number:
            change()
            return ast.unparse(ast.fix_missing_locations(tree))
    return None


def changes(tree: ast.AST) -> Iterator[Callable[[], None]]:
    """Large ones first: statements from the end, then expressions."""
    nodes = list(ast.walk(tree))
    for node in nodes:
        for name in ("body", "orelse"):
            statements = getattr(node, name, None)
            if isinstance(statements, list):
                yield from (_without(node, name, i) for i in reversed(range(len(statements))) if _may_go(statements[i]))
                yield from (
                    _opened(node, name, i)
                    for i, s in enumerate(statements)
                    if isinstance(s, (ast.With, ast.If, ast.For))
                )
    for node in nodes:
        yield from _smaller_expressions(node)


def _may_go(statement: ast.stmt) -> bool:
    return not isinstance(statement, (ast.Return, ast.Pass))


def _without(node: ast.AST, name: str, index: int) -> Callable[[], None]:
    def change() -> None:
        statements = getattr(node, name)
        del statements[index]
        if not statements and name == "body":
            statements.append(ast.Pass())

    return change


def _opened(node: ast.AST, name: str, index: int) -> Callable[[], None]:
    def change() -> None:
        statements = getattr(node, name)
        statements[index : index + 1] = statements[index].body

    return change


def _smaller_expressions(node: ast.AST) -> Iterator[Callable[[], None]]:
    for name, value in ast.iter_fields(node):
        for index, child in enumerate(value if isinstance(value, list) else [value]):
            place = index if isinstance(value, list) else None
            for smaller in _inside(child):
                yield _replaced(node, name, place, smaller)


def _inside(child: object) -> list[ast.expr]:
    if isinstance(child, ast.Call):
        owner = [child.func.value] if isinstance(child.func, ast.Attribute) else []
        return [part for part in [*owner, *child.args] if not _is_module(part)]
    if isinstance(child, ast.BinOp):
        return [child.left, child.right]
    if isinstance(child, ast.Subscript):
        return [child.value]
    if isinstance(child, ast.UnaryOp):
        return [child.operand]
    return [child.body, child.orelse] if isinstance(child, ast.IfExp) else []


def _is_module(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id in ("torch", "F", "nn"))


def _replaced(node: ast.AST, name: str, place: int | None, smaller: ast.expr) -> Callable[[], None]:
    def change() -> None:
        if place is None:
            setattr(node, name, copy.deepcopy(smaller))
        else:
            getattr(node, name)[place] = copy.deepcopy(smaller)

    return change
