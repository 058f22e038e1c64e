#!/usr/bin/env python3
"""Builds the documentation: the pages of docs/, and a reference that is made from the package itself, so that every
parameter, class, event and error is in it. Links and anchors are checked.

    python scripts/docs.py              build/docs, and the site in build/site
    python scripts/docs.py --pages DIR  the pages alone, into DIR

A page that mkdocs.yml does not name is put under "More".
"""

import argparse
import dataclasses
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

import stoker
import stoker.inputs
from stoker import errors, events
from stoker.ml.params import annotation_of, params_of

ROOT = Path(__file__).parent.parent


# --- what is public ---------------------------------------------------------------------------------------------------


def public(module: ModuleType) -> dict[str, Any]:
    return {name: getattr(module, name) for name in module.__all__ if name != "__version__"}


def is_error(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, Exception)


def is_stage(thing: Any) -> bool:
    """An estimator or a model: it has parameters."""
    return isinstance(thing, type) and bool(params_of(thing))


def stages(kind: str) -> dict[str, type]:
    found = {name: thing for name, thing in public(stoker).items() if is_stage(thing)}
    return {name: cls for name, cls in found.items() if hasattr(cls, "fit") == (kind == "estimators")}


def others() -> dict[str, Any]:
    return {name: thing for name, thing in public(stoker).items() if not is_stage(thing) and not is_error(thing)}


def subclasses(of: type) -> list[type]:
    return [cls for child in of.__subclasses__() for cls in [child, *subclasses(child)]]


# --- pages ------------------------------------------------------------------------------------------------------------


def parameters_page() -> Iterator[str]:
    yield "# Parameters\n\nOf estimators, as keyword, `setX` and `getX`. None has a parameter's default back.\n"
    estimators = stages("estimators")
    names = dict.fromkeys(name for cls in estimators.values() for name in params_of(cls))
    for name in names:
        having = {title: cls for title, cls in estimators.items() if name in params_of(cls)}
        cls = next(iter(having.values()))
        defaults = {param.name: value for param, value in cls()._defaultParamMap.items()}
        shown = f", default `{defaults[name]!r}`" if defaults.get(name) is not None else ""
        where = "" if len(having) == len(estimators) else f" Of {' and '.join(having)}."
        yield f"## {name}\n\n`{annotation_of(name, defaults)}`{shown}. {sentence(getattr(cls, name).doc)}{where}\n"


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def things_page(title: str, things: dict[str, Any], about: str = "", named_in: str = "") -> Iterator[str]:
    """`named_in`: only methods that this text names are for users."""
    yield f"# {title}\n\n{about}\n"
    for name, thing in things.items():
        yield f"## {name}\n\n{signature(name, thing)}{text_of(thing)}\n"
        if isinstance(thing, type):
            yield from methods(thing, named_in)


def signature(name: str, thing: Any) -> str:
    if is_stage(thing) or not callable(thing):
        return ""
    try:
        return f"```text\n{name}{plain(inspect.signature(thing))}\n```\n\n"
    except ValueError:
        return ""


def methods(cls: type, named_in: str = "") -> Iterator[str]:
    for name, member in inspect.getmembers(cls):
        call = member.fget if isinstance(member, property) else inspect.unwrap(member) if callable(member) else None
        ours = getattr(call, "__module__", "") or ""
        accessor = name[:3] in ("set", "get") and name[3:4].isupper()
        if name.startswith("_") or not ours.startswith("stoker") or accessor or not inspect.getdoc(member):
            continue
        if named_in and not re.search(rf"\.{name}\b", named_in):
            continue
        shown = name if isinstance(member, property) else f"{name}{_parameters(member)}"
        yield f"**`{shown}`**\n\n{text_of(member)}\n"


def _parameters(member: Any) -> str:
    try:
        told = inspect.signature(member)
    except (TypeError, ValueError):
        return "()"
    return plain(told.replace(parameters=[one for name, one in told.parameters.items() if name != "self"]))


def plain(told: inspect.Signature) -> str:
    """Without the quotes of annotations."""
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(told))


def text_of(thing: Any) -> str:
    """Its docstring as Markdown: examples as code, and without the list of parameters, which has a page."""
    text = re.sub(r"\n*\.\. version\w+::.*", "", inspect.getdoc(thing) or "")
    if is_stage(thing) and "\nParameters:\n" in text:
        text, _, rest = text.partition("\nParameters:\n")
        text += f"\n[All parameters](parameters.md).\n\n{rest.partition('Example:')[2]}"
    return "\n".join(fenced(listed(text.splitlines())))


def listed(lines: Iterable[str]) -> Iterator[str]:
    """Sections of arguments, errors and results as lists."""
    within = False
    for line in lines:
        if line in ("Args:", "Raises:"):
            within = True
            yield f"\n**{'Arguments' if line == 'Args:' else 'Raises'}**\n"
        elif line == "Returns:":
            yield "\n**Returns**\n"
        elif within and (entry := re.fullmatch(r" {4}(\w[\w.*, ]*?): (.*)", line)):
            yield f"- `{entry[1]}`: {entry[2]}"
        elif within and line.startswith(" " * 8):
            yield line[4:]
        else:
            within = within and not line
            yield line.removeprefix("    ") if line.startswith("    ") and not line.lstrip().startswith(">>>") else line


def fenced(lines: Iterable[str]) -> Iterator[str]:
    """Lines from a prompt to the next empty one are code."""
    within = False
    for line in lines:
        prompt = line.lstrip().startswith(">>>")
        if prompt and not within:
            yield "\n```pycon"
        elif within and not line.strip():
            yield "```"
        within = prompt or (within and bool(line.strip()))
        yield line.strip() if within else escaped(line)
    if within:
        yield "```"


def escaped(line: str) -> str:
    return line.replace("<", "&lt;")


def events_page() -> Iterator[str]:
    yield "# Events\n\nOf a fit, in order: `record.event` of the log's records ([deaths](../deaths.md#the-log)).\n"
    for cls in subclasses(events.Event):
        yield f"## {cls.__name__}\n\n{text_of(cls) if cls.__doc__ and '(' not in cls.__doc__[:40] else ''}\n"
        keys = [f"`{field.name}`: {field.type}" for field in dataclasses.fields(cls)]
        yield f"{', '.join(keys) or 'Without particulars'}.\n"


def pages() -> dict[str, tuple[str, str]]:
    """By file: title and text."""
    found = {
        "parameters": ("Parameters", parameters_page()),
        "estimators": ("Estimators", things_page("Estimators", stages("estimators"))),
        "models": ("Models", things_page("Models", stages("models"), "What `fit` gives.")),
        "inputs": ("Declarations of inputs", things_page("Declarations of inputs", public(stoker.inputs),
                                                         "`stoker.inputs`; see [the guide](../inputs.md).",
                                                         (ROOT / "docs/inputs.md").read_text())),
        "functions": ("Functions and objects", things_page("Functions and objects", others())),
        "events": ("Events", events_page()),
        "errors": ("Errors", things_page("Errors", {cls.__name__: cls for cls in
                                                    [errors.StokerError, *subclasses(errors.StokerError)]
                                                    if cls.__module__ == "stoker.errors"})),
    }  # fmt: skip
    return {f"reference/{name}.md": (title, "\n".join(text)) for name, (title, text) in found.items()}


# --- the site ---------------------------------------------------------------------------------------------------------


def write_pages(folder: Path) -> dict[str, str]:
    """Returns the titles of those that are made, by file."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder)
    made = pages()
    for name, (_, text) in made.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return {name: title for name, (title, _) in made.items()}


def configuration(folder: Path, titles: dict[str, str]) -> dict[str, Any]:
    told = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    for entry in told["nav"]:
        if "Reference" in entry:
            entry["Reference"] = [{title: name} for name, title in titles.items()]
    named = set(files_of(told["nav"]))
    more = sorted(name for path in folder.rglob("*.md") if (name := path.relative_to(folder).as_posix()) not in named)
    if more:
        told["nav"].insert(-1, {"More": more})
    return {**told, "docs_dir": str(folder), "site_dir": str(ROOT / "build/site")}


def files_of(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, (list, dict)):
        for inner in nav.values() if isinstance(nav, dict) else nav:
            yield from files_of(inner)


def build(folder: Path) -> int:
    told = configuration(folder, write_pages(folder))
    with tempfile.NamedTemporaryFile("w", suffix=".yml", dir=folder.parent) as file:
        yaml.safe_dump(told, file)
        file.flush()
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean", "-f", file.name]
        return subprocess.run(command, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pages", type=Path, help="where the pages alone are written")
    asked = parser.parse_args()
    if asked.pages:
        write_pages(asked.pages)
        return 0
    return build(ROOT / "build/docs")


if __name__ == "__main__":
    sys.exit(main())
