"""Peak memory of Spark's Python workers, as the kernel counts it: private pages and a share of the others."""

import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil

EVERY = 0.02  # seconds between looks

LIBTORCH = """
import ctypes, pathlib, re, sys
def pss():
    return int(re.search(r"^Pss: +(\\d+)", pathlib.Path("/proc/self/smaps_rollup").read_text(), re.M)[1]) * 1024
before = pss()
ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
print(pss() - before)
"""


def pss(pid: int) -> int:
    """Bytes; 0 for a process that is gone."""
    return counted(pid, "Pss:")


def rss(pid: int) -> int:
    """The same with shared pages in full: libraries, and mapped files if there are any."""
    return counted(pid, "Rss:")


def counted(pid: int, what: str) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(what)), 0)


def worker_pids() -> list[int]:
    """Workers are the children of pyspark's daemon, or started one by one."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if any("pyspark.daemon" in word or "pyspark.worker" in word for word in process.cmdline()):
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


class PeakWatch:
    """Samples in a thread of its own while the with-block runs; `peak` is the largest that any worker had."""

    def __init__(self, measure: Callable[[int], int] = pss) -> None:
        self._measure = measure

    def __enter__(self) -> "PeakWatch":
        self.peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(EVERY):
            self.peak = max([self.peak, *map(self._measure, worker_pids())])


def libtorch_bytes() -> int:
    """What loading libtorch alone adds to a process, while this one has it loaded too."""
    torch = Path(importlib.util.find_spec("torch").submodule_search_locations[0])
    command = [sys.executable, "-c", LIBTORCH, str(torch / "lib" / "libtorch_cpu.so")]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
