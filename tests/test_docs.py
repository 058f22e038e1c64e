"""The user's pages: each block of Python runs, links and anchors lead somewhere, and nothing public is missing."""

import importlib
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

import stoker
import stoker.inputs
from conftest import blobs, table
from stoker import StokerClassifier, errors, events
from stoker.ml.params import params_of
from test_arrows import script_of

ROOT = Path(__file__).parent.parent
NOT_USERS = {"design.md"}
PAGES = sorted(path.name for path in ROOT.glob("docs/*.md") if path.name not in NOT_USERS)
# Code of a page in its order; what a reader need not see stands in comments.
BLOCK = re.compile(r"^(?:```python|<!-- setup)\n(.*?)^(?:```|-->)$", re.M | re.S)


def blocks(page):
    text = page.read_text()
    return [(text[: found.start()].count("\n") + 1, found[1]) for found in BLOCK.finditer(text)]


@pytest.fixture
def empty_folder(spark, tmp_path, monkeypatch):
    """Relative paths are below it, for Python and for Spark."""
    monkeypatch.chdir(tmp_path)
    hadoop = spark._jvm.org.apache.hadoop.fs
    files = hadoop.FileSystem.get(spark._jsc.hadoopConfiguration())
    before = files.getWorkingDirectory()
    files.setWorkingDirectory(hadoop.Path(str(tmp_path)))
    yield tmp_path
    files.setWorkingDirectory(before)


@pytest.mark.parametrize("name", [*PAGES, "../README.md"])
def test_each_block_of_python_runs_as_it_stands(name, spark, empty_folder, capsys):
    page, names = ROOT / "docs" / name, {"spark": spark, "__name__": "__main__"}
    for line, code in blocks(page):
        exec(compile("\n" * line + code, str(page), "exec"), names)


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.ipynb")), ids=lambda path: path.name)
def test_each_cell_of_a_notebook_runs(path, spark, empty_folder, capsys):
    """`make test-examples` runs them by Jupyter's own kernel."""
    cells, names = json.loads(path.read_text())["cells"], {"__name__": "__main__"}
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code"), "outputs are not kept"
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}:{cell['id']}", "exec"), names)


@pytest.fixture(scope="module")
def script():
    return script_of("docs")


@pytest.fixture(scope="module")
def reference(script):
    return "\n".join(text for _, text in script.pages().values())


def test_the_site_is_built_and_every_link_and_anchor_leads_somewhere():
    ran = subprocess.run([sys.executable, "scripts/docs.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    told = [line for line in (ran.stdout + ran.stderr).splitlines() if "WARNING" in line or "rror" in line]
    assert ran.returncode == 0 and not told, "\n".join(told) or ran.stderr


def test_a_link_that_leads_nowhere_would_be_found(script, tmp_path):
    told = script.configuration(tmp_path, script.write_pages(tmp_path / "pages"))
    assert told["validation"]["links"] == dict.fromkeys(
        ["not_found", "anchors", "absolute_links", "unrecognized_links"], "warn"
    )


def test_every_public_name_is_in_the_reference(reference):
    names = [*stoker.__all__, *stoker.inputs.__all__]
    assert [name for name in names if name != "__version__" and f"## {name}\n" not in reference] == []


def test_every_parameter_event_and_error_is_in_the_reference(reference):
    stages = [thing for name in stoker.__all__ if isinstance(thing := getattr(stoker, name), type) and params_of(thing)]
    wanted = {name for cls in stages if hasattr(cls, "fit") for name in params_of(cls)}
    for module, base in ((events, events.Event), (errors, errors.StokerError)):
        wanted |= {name for name, cls in vars(module).items() if isinstance(cls, type) and issubclass(cls, base)}
    assert sorted(name for name in wanted - {"Event"} if f"## {name}\n" not in reference) == []


def settings():
    """The values of all constants that name a setting of the Spark session."""
    found = set()
    for path in (ROOT / "python/stoker").rglob("*.py"):
        found |= set(re.findall(r"[\"'](spark\.stoker\.[a-zA-Z.]+)[\"']", path.read_text()))
    address = importlib.import_module("stoker.spark.address")
    found |= {value for value in vars(address).values() if isinstance(value, str) and value.startswith("spark.stoker.")}
    return found


def test_every_setting_is_on_the_page_of_settings():
    page = (ROOT / "docs/clusters.md").read_text()
    assert settings() and [name for name in sorted(settings()) if f"`{name}`" not in page] == []


def test_every_finding_of_the_doctor_is_on_its_page():
    page = (ROOT / "docs/doctor.md").read_text()
    rules = "".join((ROOT / f"python/stoker/health/{name}.py").read_text() for name in ("findings", "switches"))
    names = set(
        re.findall(r"Finding\(\s*(?:ERROR|WARNING|NOTE|level|ERROR if full else WARNING),\s*\"([a-z-]+)\"", rules)
    )
    assert len(names) > 15 and [name for name in sorted(names) if f"`{name}`" not in page] == []


def test_every_key_of_the_history_is_on_its_page(spark, tmp_path):
    page = (ROOT / "docs/history.md").read_text()
    more = {"validationFraction": 0.2, "checkpointDir": str(tmp_path), "epochs": 1, "verbose": 0}
    history = StokerClassifier(model=nn.Linear(4, 3), **more).fit(table(spark, *blobs(100))).history
    keys = [*history[0], *history.info]
    assert [key for key in keys if f"`{key}`" not in page] == []


def test_pages_of_users_keep_to_the_words_of_the_field():
    """The house's own words are for design.md."""
    for name in ("index", "install", "first-fit", "tabular", "images", "text", "regression", "sizing", "migration"):
        text = (ROOT / f"docs/{name}.md").read_text()
        assert not re.findall(r"\b(gang|arena|coordinator|slice)\b", text), name


def test_each_docstring_that_is_shown_has_text(script):
    assert [name for name, thing in script.others().items() if not inspect.getdoc(thing)] == []


def pieces_of(message):
    """What of a quoted message is its own text, without what is filled in."""
    parts = re.split(r"\b[A-Z]\b|\.\.\.|'\w+'|\d+|file:line|torch [XY]", message)
    return [part.strip(" .:;,") for part in parts if len(part.strip(" .:;,")) >= 6]


def test_messages_of_the_troubleshooting_page_are_those_of_the_code():
    files = [*ROOT.glob("python/stoker/**/*.py"), *ROOT.glob("engine/**/*.cc"), *ROOT.glob("engine/**/*.h")]
    code = re.sub(r'"\s*f?"', "", "\n".join(file.read_text() for file in files))
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
    quoted = [message for row in rows for message in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 12
    assert [piece for message in quoted for piece in pieces_of(message) if piece not in code] == []
