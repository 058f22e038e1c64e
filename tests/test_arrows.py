"""scripts/check_arrows.py finds an include that goes against the arrows, and lets pass what may pass."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def arrows():
    spec = importlib.util.spec_from_file_location("check_arrows", ROOT / "scripts/check_arrows.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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
    "data/gather.h": ["<ATen/core/Tensor.h>"],
    "data/gather.cc": ["data/gather.h"],
    "program/step.h": ["<torch/torch.h>"],
    "train/loop.cc": ["program/step.h", "data/gather.h", "gang/plan.h"],
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
        ("data/store.cc", "<c10/util/Half.h>", "libtorch is not for data/"),
        ("data/store.cc", "data/gather.h", "brings libtorch into data/"),
        ("net/frame.cc", "socket.h", "name the folder"),
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
