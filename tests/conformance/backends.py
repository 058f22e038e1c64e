"""Runs conformance.keras_elsewhere on TensorFlow and on JAX (BACKENDS="jax" chooses), each in an environment of its own
below build/backends: .venv's packages by a path, and beside them the backend from PyPI."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build/backends"
PACKAGES = {"tensorflow": "tensorflow-cpu==2.21.0", "jax": "jax[cpu]==0.10.2"}
FREE = ("h5py",)  # TensorFlow wants an older one


def environment(backend: str) -> Path:
    """Its Python. What .venv holds stays pinned, and no other torch comes in."""
    folder, package = FOLDER / backend, PACKAGES[backend]
    python, stamp = folder / "bin/python", folder / "made"
    if not stamp.exists() or stamp.read_text() != package:
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        site = subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], text=True
        )
        Path(site.strip(), "third.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
        pinned = folder / "pinned"
        lines = (ROOT / "requirements.lock").read_text().splitlines(keepends=True)
        pinned.write_text("".join(line for line in lines if not line.startswith(FREE)))
        constraints = ["-c", pinned, "-c", ROOT / ".venv/torch.constraint"]
        subprocess.run([python, "-m", "pip", "install", "-q", *constraints, package], check=True)
        stamp.write_text(package)
    return python


def main() -> None:
    failed = 0
    for backend in sys.argv[1:] or PACKAGES:
        python = environment(backend)
        path = os.pathsep.join([str(ROOT / "python"), str(ROOT / "tests")])
        around = {"KERAS_BACKEND": backend, "PYTHONPATH": path, "PYSPARK_PYTHON": str(python),
                  "PYSPARK_DRIVER_PYTHON": str(python), "TF_CPP_MIN_LOG_LEVEL": "3"}  # fmt: skip
        failed += subprocess.run([python, "-m", "conformance.keras_elsewhere"], env={**os.environ, **around},
                                 check=False).returncode != 0  # fmt: skip
    sys.exit(failed)


if __name__ == "__main__":
    main()
