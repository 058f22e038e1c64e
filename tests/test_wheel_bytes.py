"""A wheel's bytes tell nothing of the folder that it was built in; scripts/compare_wheels.py tells where two differ.
(`TWICE=1 make test-install` builds whole wheels in two folders.)"""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("CMakeLists.txt", "cmake", "engine", "bindings", "scripts", "python/stoker/operators.txt")
SOURCES = ("base/error.cc", "base/where_am_i.cc")
# What a header's assertions and exceptions do.
TELLING = {"where_am_i.h": "inline const char* where_am_i() { return __FILE__; }\n",
           "where_am_i.cc": '#include "base/where_am_i.h"\nconst char* who_asks() { return where_am_i(); }\n'
           }  # fmt: skip


def planted(tree):
    """What a build needs of this tree, and sources that tell where they are."""
    for part in PARTS:
        (tree / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tree / part, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / part, tree / part)
    for name, text in TELLING.items():
        (tree / "engine/base" / name).write_text(text)
    return tree


def built(tree, cache=None, **defines):
    """The objects of SOURCES and what a wheel is linked against, as a wheel is made in `tree`; by name."""
    section = (ROOT / "pyproject.toml").read_text().split("[tool.scikit-build.cmake.define]\n")[1].split("\n\n")[0]
    defines = {**dict(re.findall(r'^(\w+) = "(\w+)"$', section, re.MULTILINE)), "SKBUILD": "2", **defines}
    build = tree / "build/wheel"
    shutil.rmtree(build, ignore_errors=True)
    (build / "sentencepiece/src").mkdir(parents=True)
    (build / "sentencepiece/src/libsentencepiece.a").touch()  # nothing that is built here links it
    objects = [f"engine/CMakeFiles/stoker_core.dir/{name}.o" for name in SOURCES]
    with_cache = {"CCACHE_DIR": str(cache), "CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"}
    for command in (["cmake", "-G", "Ninja", "-S", tree, "-B", build, "-DCMAKE_BUILD_TYPE=Release",
                     "-DSTOKER_TORCH=OFF", f"-DPython_EXECUTABLE={sys.executable}",
                     *(f"-D{name}={value}" for name, value in defines.items())],
                    ["cmake", "--build", build, "--target", *objects]):  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, check=False,
                             env={**os.environ, **(with_cache if cache else {"CCACHE_DISABLE": "1"})})  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
    made = [build / name for name in objects] + sorted(p for p in (build / "old").iterdir() if p.suffix != ".o")
    return {path.relative_to(build).as_posix(): path.read_bytes() for path in made}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("twice")


@pytest.fixture(scope="module")
def one(folder):
    return built(planted(folder / "one"))


def test_another_folder_gives_the_same_objects_and_libraries_to_link(folder, one):
    other = built(planted(folder / "two of them" / "deeper"))
    assert len(one) > 6 and list(one) == list(other)
    assert [name for name in one if one[name] != other[name]] == []


def test_no_object_tells_where_it_was_built(folder, one):
    assert b"engine/base/where_am_i.h\0" in one[f"engine/CMakeFiles/stoker_core.dir/{SOURCES[1]}.o"]
    assert [name for name, content in one.items() if str(folder).encode() in content] == []


@pytest.mark.skipif(shutil.which("ccache") is None, reason="there is no ccache")
def test_what_ccache_has_of_other_builds_is_not_taken(folder, one):
    """It does not count the map of paths among what makes objects the same."""
    cache = folder / "cache"
    others = built(folder / "one", cache, SKBUILD="")
    told = f"engine/CMakeFiles/stoker_core.dir/{SOURCES[1]}.o"
    assert others[told] != one[told]
    assert built(folder / "one", cache)[told] == one[told]
    assert built(planted(folder / "two of them" / "deeper"), cache)[told] == one[told]


def wheel(path, **files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    return path


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"a": "12345", "b": "x"}, "a: 5 and 5 bytes, 1 of them others, the first within b'12045'"),
        ({"a": "12045"}, "only in one of them: b"),
        ({"b": "x", "a": "12045"}, "files stand in another order"),
        ({"a": "12045", "b": "x"}, "their files are the same; the archives around them are not"),
    ],
)
def test_where_two_wheels_differ_is_told(tmp_path, other, told):
    names = [wheel(tmp_path / "one.whl", a="12045", b="x"), wheel(tmp_path / "other.whl", **other)]
    command = [sys.executable, ROOT / "scripts/compare_wheels.py", *names]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, f"{told}\n")
