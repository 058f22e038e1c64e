#!/usr/bin/env python3
"""Proves that nothing of the Python face reads a parameter by its name below python/stoker/fit/settings.py: what a fit
shall do is in FitSettings, and which columns are what in Naming.

Says each reading as file:line, and ends with 1 if there is any. The rooms ml/ and compat/ are faces of
pyspark.ml itself.
"""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

MAY = ("ml", "compat", "fit/settings.py")
READERS = {"getOrDefault", "isSet", "isDefined", "hasParam", "hasDefault", "getParam", "extractParamMap"}
VALUES = {"value"}  # what gives a parameter's value by its name


def readings(tree: ast.AST, getters: set[str], params: set[str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyspark.ml.param"):
            yield node.lineno, f"imports {node.module}"
        if isinstance(node, ast.Attribute) and node.attr in READERS | getters:
            yield node.lineno, f"calls {node.attr}"
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in VALUES and node.args[0].value in params:
                yield node.lineno, f"reads the parameter '{node.args[0].value}'"


def check(package: Path, params: Sequence[str]) -> list[str]:
    getters = {f"get{name[0].upper()}{name[1:]}" for name in params}
    found = []
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).as_posix()
        if not name.startswith(MAY):
            found += [f"{file}:{line}: {what}; only {MAY[1]} may" for line, what in
                      readings(ast.parse(file.read_text()), getters, set(params))]  # fmt: skip
    return found


def names_in(params: Path) -> list[str]:
    """Of the parameters that the file declares, and of those of Spark's own that it mixes in."""
    text = params.read_text()
    own = re.findall(r"^ +(\w+) = _param\(", text, re.M)
    mixed = re.findall(r"\bHas(\w+)\b", text)
    return [*own, *(name[0].lower() + name[1:] for name in mixed)]


def main() -> int:
    package = Path(__file__).parent.parent / "python/stoker"
    found = check(package, names_in(package / "ml/params.py"))
    print("\n".join(found) or "parameters are read in one place")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
