"""How the engine's libraries get into a process. Each case is a process of its own."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from stoker.engine import core


def run(script: str, *, pythonpath: str = "", **environment: str) -> dict:
    path = os.pathsep.join(filter(None, [pythonpath, *sys.path]))
    done = subprocess.run(
        [sys.executable, "-c", "import json, sys\n" + textwrap.dedent(script)],
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LOOK = """
from pathlib import Path
from stoker import engine
def libraries(name):
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sorted({line.split(maxsplit=5)[5] for line in lines if f"/{name}" in line})
"""


def test_no_python_torch_and_one_libgomp():
    seen = run(
        LOOK
        + """
module = engine.load_torch()
module.set_threads(2)
print(json.dumps({"torch": "torch" in sys.modules, "gomp": libraries("libgomp"), "python": libraries("libtorch_python"),
                  "name": module.__name__, "cpu": libraries("libtorch_cpu")}))
"""
    )
    assert not seen["torch"]
    assert seen["python"] == []
    assert len(seen["gomp"]) == 1 and "torch" in seen["gomp"][0]
    assert len(seen["cpu"]) == 1
    assert seen["name"].startswith("stoker._torch_")


def test_core_alone_brings_no_libtorch():
    seen = run(LOOK + 'engine.core()\nprint(json.dumps([libraries("libtorch"), engine.loaded_level()]))')
    assert seen == [[], None]


@pytest.mark.parametrize("level", range(core().best_isa() + 1))
def test_level_is_the_one_that_was_asked_for(level):
    seen = run(
        LOOK
        + f"""
module = engine.load_torch({level})
print(json.dumps([engine.loaded_level(), module.config(), engine.describe()["loaded_isa"], engine.core().best_isa()]))
"""
    )
    assert seen[0] == seen[2] == level
    assert "CPU capability usage: " + ["DEFAULT", "AVX2", "AVX512"][level] in seen[1]
    assert seen[3] == core().best_isa()


def test_best_level_by_default_whatever_the_environment_says():
    seen = run(LOOK + "engine.load_torch()\nprint(engine.loaded_level())", ATEN_CPU_CAPABILITY="default")
    assert seen == core().best_isa()


def test_second_level_in_one_process_is_refused():
    seen = run(
        LOOK
        + """
first = engine.load_torch("baseline")
same = engine.load_torch("baseline") is first and engine.load_torch() is first
try:
    engine.load_torch("avx2")
except engine.WorldError as error:
    print(json.dumps([same, str(error)]))
"""
    )
    assert seen[0]
    assert "loaded at level baseline in this process, and avx2 is needed" in seen[1]


def test_beside_pythons_torch_loaded_before():
    seen = run(
        LOOK
        + """
import torch
module = engine.load_torch()
inference = module.Inference(json.dumps(dict(format="stoker-program", version=1, kind="infer", torch="2.13", slots=2,
    inputs=[dict(name="x", role="feature", slot=0, dtype="float32", shape=[2])], parameters=[], buffers=[],
    constants=[], nodes=[dict(op="aten.relu.default", args=[dict(slot=0)], kwargs={}, out=[1], where="here")],
    outputs=[dict(name="y", slot=1)])), (2).to_bytes(8, "little") + b"{}")
out = inference.run([torch.tensor([[-1.0, 2.0]]).numpy()])
print(json.dumps([engine.loaded_level(), out[0].tolist(), libraries("libtorch_cpu"), libraries("libgomp")]))
"""
    )
    assert seen[0] is not None
    assert seen[1] == [[0, 2]]
    assert len(seen[2]) == 1 and len(seen[3]) == 1


def test_before_pythons_torch():
    seen = run(LOOK + "engine.load_torch()\nimport torch\nprint(json.dumps(torch.ones(3).sum().item()))")
    assert seen == 3


def fake_torch(folder, version: str) -> str:
    package = folder / "torch"
    (package / "lib").mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('nobody may import this')\n")
    (package / "version.py").write_text(f"__version__ = '{version}'\n")
    return str(folder)


ERROR = """
try:
    engine.load_torch()
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def test_torch_of_another_version_is_refused_by_name(tmp_path):
    kind, text = run(LOOK + ERROR, pythonpath=fake_torch(tmp_path, "1.99.0+cpu"))
    assert kind == "UserError"
    assert "torch 1.99.0 is installed, and this build of Stoker needs torch 2." in text


def test_torch_without_its_libraries(tmp_path):
    version = run(LOOK + "print(json.dumps(engine.torch_version()))")
    kind, text = run(LOOK + ERROR, pythonpath=fake_torch(tmp_path, version))
    assert kind == "WorldError"
    assert f"cannot load libc10.so of the installed torch {version}" in text


def test_other_threads_go_on_while_libraries_load(tmp_path):
    version = run(LOOK + "print(json.dumps(engine.torch_version()))")
    path = fake_torch(tmp_path, version)
    os.mkfifo(tmp_path / "torch/lib/libc10.so")  # whoever opens it waits for its other end
    script = """
import threading
loading = threading.Thread(target=engine.load_torch, daemon=True)
threading.excepthook = lambda told: print(json.dumps([told.exc_type.__name__, str(told.exc_value)]))
loading.start()
open(engine._package() / "lib/libc10.so", "wb").close()
loading.join()
"""
    kind, text = run(LOOK + script, pythonpath=path)
    assert kind == "WorldError" and "cannot load libc10.so" in text


def test_no_torch_at_all():
    seen = run(LOOK + "import importlib.util\nimportlib.util.find_spec = lambda name: None" + ERROR)
    assert seen[0] == "UserError"
    assert "torch is not installed" in seen[1]


def test_the_decoders_of_pictures_are_inside_and_out_of_sight():
    """Machines need no such libraries, and Pillow's copies in the same process are others."""
    library = Path(core().__file__).parent / "lib/libstoker_core.so"
    needed = subprocess.run(["readelf", "-dW", library], check=True, capture_output=True, text=True).stdout
    assert "libstdc++" in needed and not re.search(r"NEEDED.*(jpeg|png|webp|libz)", needed)
    shown = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    assert "stoker" in shown and not re.search(r" (jpeg_|jinit|jsimd_|png_|WebP|VP8|inflate|crc32)", shown)
