"""scripts/check_licenses.py finds a library that is linked without its licence's text."""

import shutil

import pytest

from test_arrows import ROOT, script_of


@pytest.fixture(scope="module")
def check():
    return script_of("check_licenses")


@pytest.fixture
def copy(tmp_path):
    """What the check reads of the project."""
    for folder in ("licenses", "cmake"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("CMakeLists.txt", "engine/CMakeLists.txt", "bindings/CMakeLists.txt", "engine/base/hash.cc",
                 "scripts/old_system.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_the_project_is_complete(check):
    assert list(check.complaints()) == list(check.strangers()) == []
    assert {"crypto", "jpeg", "png", "z", "webp", "sentencepiece", "nlohmann_json", "nanobind", "xxhash",
            "stdc++"} <= set(check.linked(ROOT))  # fmt: skip


def test_another_library_or_a_text_too_few_or_too_many_is_found(check, copy):
    assert list(check.complaints(copy)) == []
    with (copy / "CMakeLists.txt").open("a") as file:
        file.write("find_library(LZ4 liblz4.a REQUIRED)\n")
    (copy / "licenses/zlib.txt").rename(copy / "licenses/other.txt")
    found = list(check.complaints(copy))
    assert any(text.startswith("lz4 is linked") for text in found)
    assert "licenses/zlib.txt is missing: z is linked" in found
    assert "licenses/other.txt is of nothing that is linked" in found
    assert len(found) == 3


def test_a_wheel_carries_the_texts(tmp_path):
    from scikit_build_core.build import prepare_metadata_for_build_wheel

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        info = tmp_path / prepare_metadata_for_build_wheel(str(tmp_path))
    told = (info / "METADATA").read_text()
    assert "License-Expression: Apache-2.0" in told
    assert (info / "licenses/LICENSE").is_file() and (info / "licenses/licenses/openssl.txt").is_file()
