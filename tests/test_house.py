"""What documents promise of the repository is so: commands, folders, CI, and no trace of a machine."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def tracked_text():
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        if path.is_file():
            yield name, path.read_text(errors="replace")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_of_the_page_exists(page):
    targets = set(re.findall(r"^([a-z- ]+):", (ROOT / "Makefile").read_text(), re.M))
    targets = {word for line in targets for word in line.split()}
    commands = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / page).read_text(), re.M))
    assert commands and commands <= targets


def test_ci_runs_the_test_command_of_the_readme():
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert re.search(r"^exec make test\b", (ROOT / ".ci/run").read_text(), re.M)
    assert re.search(r"^make test\b", (ROOT / "README.md").read_text(), re.M)


def test_every_folder_of_the_design_page_exists_unless_it_comes_later():
    page = (ROOT / "docs/design.md").read_text()
    block = re.search(r"^```\n(engine/.*?)^```", page, re.M | re.S)[1]
    above = []  # the folders that a line lies in, each two spaces deeper
    for line in block.splitlines():
        folders, told = re.match(r"( *(?:\w[\w/]*/ ?)+)(.*)", line).groups()
        del above[(len(folders) - len(folders.lstrip())) // 2 :]
        for folder in folders.split():
            path = ROOT.joinpath(*above, folder)
            assert path.is_dir() or "later" in told, f"{path.relative_to(ROOT)} is in docs/design.md, but not here"
        above.append(folders.split()[0])


def test_links_of_the_pages_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_no_tracked_file_names_this_machine_or_a_registry():
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "registry" + ".npmjs", "deb" + ".debian"]
    forbidden = [f"{ROOT}/", f"{Path.home()}/", *hosts]
    found = [f"{name}: {word}" for name, text in tracked_text() for word in forbidden if word in text]
    assert not found


def test_scripts_are_executable_and_parse():
    for script in [*ROOT.glob("scripts/*.sh"), ROOT / ".ci/run"]:
        assert os.access(script, os.X_OK), script
        subprocess.run(["bash", "-n", script], check=True)
