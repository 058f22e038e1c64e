"""The build against other torch wheels than the one installed here: CUDA without the toolkit, none, another minor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

PROJECT = f"""
cmake_minimum_required(VERSION 3.25)
project(probe LANGUAGES CXX)
find_package(Python 3.10 REQUIRED COMPONENTS Interpreter)
include({ROOT}/cmake/TorchWheel.cmake)
file(WRITE ${{CMAKE_BINARY_DIR}}/probe.cc
     "#include <ATen/probe.h>\\n#include <torch/probe.h>\\nint main() {{ return answer - 42 + also; }}")
add_executable(probe ${{CMAKE_BINARY_DIR}}/probe.cc)
target_link_libraries(probe PRIVATE torch::cpu)
message(STATUS "minor ${{TORCH_MINOR}}")
"""


class Probe:
    """A small CMake project over cmake/TorchWheel.cmake, and a Python of its own to hold a mock torch."""

    def __init__(self, folder: Path):
        self.source, self.build = folder / "source", folder / "build"
        self.source.mkdir()
        (self.source / "CMakeLists.txt").write_text(PROJECT)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "python"], check=True)
        self.python = folder / "python/bin/python"
        self.site = next(folder.glob("python/lib/python*/site-packages"))

    def write_torch(self, version: str):
        """A tree like an installed wheel's, with libraries that export nothing."""
        torch = self.site / "torch"
        headers = torch / "include/torch/csrc/api/include/torch"
        for folder in (torch / "include/ATen", headers, torch / "lib", torch / "share/cmake/Torch"):
            folder.mkdir(parents=True)
        (torch / "__init__.py").write_text("raise SystemExit('the build imported torch')")
        (torch / "version.py").write_text(f"__version__ = '{version}'\ndebug = False\ncuda = '13.0'\n")
        (torch / "include/ATen/probe.h").write_text("constexpr int answer = 42;\n")
        (headers / "probe.h").write_text("constexpr int also = 0;\n")
        (torch / "share/cmake/Torch/TorchConfig.cmake").write_text('message(FATAL_ERROR "no CUDA toolkit")\n')
        for name in ("torch_cpu", "c10", "torch_cuda", "c10_cuda"):
            library = torch / f"lib/lib{name}.so"
            subprocess.run(["g++", "-shared", "-x", "c++", os.devnull, "-o", library], check=True)

    def configure(self, *options: str) -> subprocess.CompletedProcess:
        command = ["cmake", "-G", "Ninja", "-S", self.source, "-B", self.build, f"-DPython_EXECUTABLE={self.python}"]
        return subprocess.run([*command, *options], capture_output=True, text=True, check=False)

    @property
    def install_command(self) -> str:
        return f"{self.python} -m pip install torch==2.13.0"


@pytest.fixture
def probe(tmp_path):
    return Probe(tmp_path)


def test_a_cuda_wheel_without_the_toolkit_configures_and_builds(probe):
    probe.write_torch("2.13.0+cu130")
    done = probe.configure()
    assert done.returncode == 0, done.stderr
    assert "minor 2_13" in done.stdout
    subprocess.run(["cmake", "--build", probe.build], check=True, capture_output=True)
    dynamic = subprocess.run(["readelf", "-d", probe.build / "probe"], check=True, capture_output=True, text=True)
    assert not [line for line in dynamic.stdout.splitlines() if "NEEDED" in line and "cuda" in line]


def test_without_torch_the_build_stops_with_the_command(probe):
    done = probe.configure()
    assert done.returncode != 0
    assert "torch is not installed" in done.stderr and probe.install_command in done.stderr


def test_another_minor_stops_with_the_command(probe):
    probe.write_torch("2.12.1")
    done = probe.configure()
    assert done.returncode != 0
    assert "torch 2.12.1 is installed" in done.stderr and probe.install_command in done.stderr


def test_under_pip_the_message_names_build_isolation(probe):
    done = probe.configure("-DSKBUILD=2")
    assert done.returncode != 0
    assert f"{probe.python} -m pip install --no-build-isolation ." in done.stderr


def test_torch_is_no_build_requirement_and_the_lock_does_not_name_it():
    project = (ROOT / "pyproject.toml").read_text()
    requires = next(line for line in project.splitlines() if line.startswith("requires ="))
    assert "torch" not in requires
    locked = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    assert not any(line.startswith("torch") for line in locked)
