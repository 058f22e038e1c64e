"""scripts/check_arrows.py finds an include or import that goes against the arrows, and lets pass what may pass;
scripts/check_params.py finds who reads a parameter by its name where only settings may."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def script_of(name):
    """A file of scripts/, as a module, which finds those beside it."""
    scripts = str(ROOT / "scripts")
    if scripts not in sys.path:
        sys.path.append(scripts)
    spec = importlib.util.spec_from_file_location(name, f"{scripts}/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def arrows():
    return script_of("check_arrows")


@pytest.fixture
def engine(tmp_path):
    """Writes the files of an engine: engine({"net/socket.h": ["base/error.h"]}); <> marks a system include."""

    def quoted(target):
        return target if target.startswith("<") else f'"{target}"'

    def write(files):
        for name, targets in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"#include {quoted(target)}\n" for target in targets))
        return tmp_path

    return write


ALLOWED = {
    "base/error.h": ["<string>"],
    "net/socket.h": ["base/error.h"],
    "gang/coordinator.cc": ["net/socket.h", "gang/plan.h"],
    "gang/plan.h": [],
    "data/store/gather.h": ["<ATen/core/Tensor.h>"],
    "data/store/gather.cc": ["data/store/gather.h"],
    "program/step.h": ["<torch/torch.h>"],
    "train/loop.cc": ["program/step.h", "data/store/gather.h", "gang/plan.h"],
    "net/socket_test.cc": ["gang/plan.h", "<ATen/ATen.h>"],
}


def test_what_the_design_allows_passes(arrows, engine):
    assert arrows.check(engine(ALLOWED)) == []


@pytest.mark.parametrize(
    "name, include, why",
    [
        ("base/bytes.h", "net/socket.h", "base/ may not include net/"),
        ("shm/segment.cc", "net/socket.h", "shm/ may not include net/"),
        ("gang/member.h", "train/loop.h", "gang/ may not include train/"),
        ("net/frame.h", "<ATen/ATen.h>", "libtorch is not for net/"),
        ("data/store/rows.cc", "<c10/util/Half.h>", "libtorch is not for data/"),
        ("data/store/rows.cc", "data/store/gather.h", "brings libtorch into data/"),
        ("net/frame.cc", "socket.h", "name the folder"),
        ("data/arrow/reader.cc", "data/read/rows.h", "data/arrow/ may not include data/read/"),
        ("data/store/rows.cc", "data/deal/deal.h", "data/store/ may not include data/deal/"),
        ("data/store/rows.cc", "data/test_batch.h", "data/store/ may not include data"),
        ("net/deep/frame.cc", "shm/segment.h", "net/ may not include shm/"),
        ("extra/thing.h", "<string>", "the folder is not in"),
    ],
)
def test_a_planted_include_against_the_arrows_is_found(arrows, engine, name, include, why):
    found = arrows.check(engine({**ALLOWED, name: [include]}))
    assert len(found) == 1 and name in found[0] and why in found[0]


def test_the_table_is_the_one_of_the_design_page(arrows):
    page = (ROOT / "docs/design.md").read_text()
    for folder, allowed in arrows.ARROWS.items():
        line = re.search(rf"^  {folder}/ .*?(knows nothing else|-> ?(.*))$", page, re.M)
        assert line, f"docs/design.md does not list {folder}/"
        told = set() if line[2] is None else set(re.findall(r"\w+", line[2]))
        if "all" in told:
            assert allowed >= set(arrows.ARROWS) - {"base", "train", "observe"}
        else:
            assert told & set(arrows.ARROWS) - {"base"} == allowed


@pytest.fixture
def package(tmp_path):
    """Writes modules of a package "stoker": package({"fit/run": "import os"})."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / "stoker" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "stoker"

    return write


FACE = {
    "errors": "import json\n",
    "spark/table": "from stoker.errors import UserError\n",
    "inputs/number": "from stoker.spark.table import Table\n",
    "fit/run": "from stoker.inputs import number\nfrom stoker import errors\n",
    "ml/estimators": "def late():\n    from stoker.fit.run import fit\n",
}


def test_imports_that_follow_the_arrows_pass(arrows, package):
    assert arrows.check_python(package(FACE)) == []


@pytest.mark.parametrize(
    "name, text, why",
    [
        ("spark/launch", "from stoker.ml.estimators import x", "spark may not import ml"),
        ("spark/launch", "def late():\n    import stoker.fit.run", "launch.py:2: spark may not import fit"),
        ("errors", "from stoker.spark import table", "a file beside the folders may not import spark"),
        ("more/thing", "", "the folder is not in"),
        ("spark/table", "from stoker.spark import a", "in a circle: spark.table -> spark.a -> spark.table"),
    ],
)
def test_a_planted_import_against_the_arrows_is_found(arrows, package, name, text, why):
    planted = {**FACE, "spark/a": "def late():\n    from stoker.spark.table import Table\n", name: text}
    found = arrows.check_python(package(planted))
    assert any(why in line for line in found), found


def test_rooms_of_the_python_face_are_those_of_the_design_page(arrows):
    page = (ROOT / "docs/design.md").read_text()
    for room, allowed in arrows.PYTHON_ARROWS.items():
        line = re.search(rf"^  {room}/ .*-> (.*)$", page.partition("python/stoker/")[2], re.M)
        told = set(re.findall(r"\w+", line[1])) & set(arrows.PYTHON_ARROWS) if line else set()
        assert told == allowed, room


@pytest.mark.parametrize(
    "name, text, why",
    [
        ("fit/run", "def f(value):\n    value('epochs')", "run.py:2: reads the parameter 'epochs'"),
        ("spark/launch", "x.getOrDefault(x.seed)", "getOrDefault"),
        ("spark/launch", "x.getBatchSize()", "getBatchSize"),
        ("inputs/number", "x.isSet('seed')", "isSet"),
        ("fit/run", "from pyspark.ml.param import Params", "pyspark.ml.param"),
        ("fit/settings", "value('epochs')", None),
        ("ml/models", "self.getOrDefault('seed'), self.value('epochs')", None),
    ],
)
def test_who_reads_a_parameter_by_its_name_below_the_settings_is_found(package, name, text, why):
    found = script_of("check_params").check(package({**FACE, name: text}), ["batchSize", "epochs", "seed"])
    assert (len(found) == 1 and why in found[0]) if why else not found, found
