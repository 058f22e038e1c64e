"""What a Spark task tells of the place that it runs at. It is sent by value and leans on Python alone, because an
executor may lack Stoker, torch and whatever else is looked for here; each fact that cannot be had is an error's text.

A task meets the others at the driver (meeting.py), by the addresses and ports that a fit would use.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("stoker", "torch", "numpy", "pyarrow", "pandas", "pyspark", "safetensors")
PINGS = 5
BLOCK = 1 << 20  # bytes that go each way for a bandwidth
PATIENCE = 4.0  # seconds for one connection
NEIGHBOURS = 8  # that each task measures
_LOAD = "from stoker import engine; engine.load_torch()"


@dataclass(frozen=True)
class Place:
    """How the tasks find the driver and each other: what a fit of the session would be told."""

    host: str
    port: int
    token: str
    peer_host: str = ""  # variables of the environment are put in
    peer_bind: str = ""
    peer_ports: tuple[int, int] = (0, 0)
    wait: float = 30.0  # seconds for the others
    load: bool = True  # whether libtorch is loaded, by a process of its own


def make_probe(place: Place) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """For mapInArrow: one row of JSON a task."""

    def probe(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow as pa
        from pyspark import TaskContext

        for _ in batches:
            pass
        context = TaskContext.get()
        number = context.partitionId() if context else 0
        yield pa.RecordBatch.from_arrays([pa.array([json.dumps(facts(place, number))])], names=["facts"])

    return probe


def facts(place: Place, number: int) -> dict[str, Any]:
    told: dict[str, Any] = {"task": number, "host": socket.gethostname(), "pid": os.getpid(), "parent": os.getppid()}
    told.update(meet(place, number))
    gather = {"python": python, "packages": packages, "engine": lambda: engine(place.load), "cpu": cpu,
              "memory": memory, "disk": disk, "descriptors": descriptors}  # fmt: skip
    for name, look in gather.items():
        try:
            told[name] = look()
        except Exception as error:
            told[name] = {"error": f"{type(error).__name__}: {error}"}
    return told


# --- the process ------------------------------------------------------------------------------------------------------


def python() -> dict[str, Any]:
    return {"version": platform.python_version(), "executable": sys.executable}


def packages() -> dict[str, str | None]:
    """Versions; None of what is not there. Nothing is imported."""
    from importlib import metadata, util

    found: dict[str, str | None] = {}
    for name in PACKAGES:
        found[name] = None
        with contextlib.suppress(Exception):
            if util.find_spec(name) is not None:
                found[name] = "?"
                found[name] = metadata.version(name)
    return found


def engine(load: bool) -> dict[str, Any]:
    """The engine's word on itself; whether libtorch loads is tried by a process of its own, since this one is Spark's
    and may be used again at another instruction-set level."""
    try:
        from stoker import __version__
        from stoker import engine as ours

        about = {"version": __version__, "torch": ours.torch_version(), "isa": ours.core().best_isa()}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    if load:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        ran = subprocess.run([sys.executable, "-c", _LOAD], env=environment, capture_output=True, text=True,
                             timeout=60, check=False)  # fmt: skip
        if ran.returncode:
            about["error"] = (ran.stderr.strip().splitlines() or [f"it ended with {ran.returncode}"])[-1]
    return about


def cpu() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {"name": name, "cores": len(os.sched_getaffinity(0))}


def memory() -> dict[str, Any]:
    """Bytes: what is free on the machine, and what is left of each limit that this process runs under."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    sizes = {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}
    space, _ = resource.getrlimit(resource.RLIMIT_AS)
    limits = []
    with contextlib.suppress(Exception):
        from stoker.spark.limits import memory_need

        limits = [{"what": one.what, "setting": one.setting, "bytes": one.bytes, "left": one.left()}
                  for one in memory_need.limits(memory_need.NOTHING_KNOWN)]  # fmt: skip
    return {"free": sizes.get("MemAvailable", 0), "limits": limits,
            "address_space": None if space == resource.RLIM_INFINITY else space}  # fmt: skip


def disk() -> list[dict[str, Any]]:
    """Of each local folder of Spark's: bytes free, and why nothing can be written, if so."""
    told = [folder for folder in os.environ.get("SPARK_LOCAL_DIRS", "").split(",") if folder]
    return [folder_facts(folder) for folder in told or [tempfile.gettempdir()]]


def folder_facts(folder: str) -> dict[str, Any]:
    found: dict[str, Any] = {"folder": folder, "free": None, "error": ""}
    try:
        found["free"] = shutil.disk_usage(folder).free
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
            file.flush()
    except OSError as error:
        found["error"] = os.strerror(error.errno) if error.errno else str(error)
    return found


def descriptors() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


# --- the ways between tasks and driver --------------------------------------------------------------------------------


def meet(place: Place, number: int) -> dict[str, Any]:
    """Facts of the way to the driver and to other tasks."""
    found: dict[str, Any] = {"driver": {"error": ""}, "peers": [], "met": False}
    try:
        link = connect(place.host, place.port)
    except OSError as error:
        found["driver"]["error"] = str(error)
        return found
    try:
        with link, link.makefile("rwb") as stream:
            talk(place, number, link, stream, found)
    except Exception as error:
        found["driver"]["error"] = f"the driver hung up: {type(error).__name__}: {error}"
    return found


def talk(place: Place, number: int, link: socket.socket, stream: Any, found: dict[str, Any]) -> None:
    own = link.getsockname()[0]
    told = os.path.expandvars(place.peer_host)
    listener = None
    try:
        if "$" in told:
            raise OSError(f"spark.stoker.peer.host is {place.peer_host!r}, and there is no such variable here")
        listener = listen(place.peer_bind or own, place.peer_ports)
        threading.Thread(target=serve, args=(listener, place.token), daemon=True).start()
    except OSError as error:
        found["listen_error"] = str(error)
    say(stream, {"token": place.token, "task": number, "host": told or own, "name": socket.gethostname(),
                 "port": listener.getsockname()[1] if listener else 0})  # fmt: skip
    found["driver"].update(measure(stream), address=own)
    link.settimeout(place.wait)
    say(stream, {"ready": True})
    order = hear(stream)
    found["met"] = order["met"]
    for peer in order["peers"]:
        found["peers"].append({**peer, **reach(peer, place.token)})
    say(stream, {"measured": True})
    hear(stream)  # until then others measure the way to this task
    if listener:
        hang_up(listener)


def reach(peer: dict[str, Any], token: str) -> dict[str, Any]:
    try:
        with connect(peer["host"], peer["port"]) as link, link.makefile("rwb") as stream:
            say(stream, {"token": token})
            return {**measure(stream), "error": ""}
    except Exception as error:
        return {"error": str(error) or type(error).__name__}


def connect(host: str, port: int) -> socket.socket:
    try:
        link = socket.create_connection((host, port), PATIENCE)
    except OSError as error:
        raise OSError(f"{host}:{port}: {error}") from error
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def listen(bind: str, ports: tuple[int, int]) -> socket.socket:
    problem: OSError | None = None
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    for port in range(ports[0], ports[1] + 1):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((bind, port))
            listener.listen(256)
            return listener
        except OSError as error:
            problem = error
            listener.close()
    raise OSError(f"cannot listen on {bind}, ports {ports[0]} to {ports[1]}: {problem}")


def hang_up(listener: socket.socket) -> None:
    """Wakes who waits for connections there too."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def serve(listener: socket.socket, token: str) -> None:
    """Answers measurements until the listener is closed."""
    while True:
        try:
            link, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer_once, args=(link, token), daemon=True).start()


def _answer_once(link: socket.socket, token: str) -> None:
    link.settimeout(PATIENCE)
    with contextlib.suppress(Exception), link, link.makefile("rwb") as stream:
        if hear(stream).get("token") == token:
            answer(stream)


def measure(stream: Any) -> dict[str, float]:
    """Latency (seconds, there and back), bytes a second, and how far the other clock is ahead (seconds)."""
    trips = []
    for _ in range(PINGS):
        sent, begun = time.time(), time.perf_counter()
        say(stream, {"ping": True})
        their = hear(stream)["clock"]
        trips.append((time.perf_counter() - begun, their - sent))
    latency, ahead = min(trips)
    begun = time.perf_counter()
    say(stream, {"block": True})
    stream.write(b"\0" * BLOCK)
    stream.flush()
    read(stream, BLOCK)
    seconds = max(time.perf_counter() - begun, 1e-9)
    return {"latency": latency, "bandwidth": 2 * BLOCK / seconds, "ahead": ahead - latency / 2}


def answer(stream: Any) -> None:
    """The other end of measure()."""
    for _ in range(PINGS):
        hear(stream)
        say(stream, {"clock": time.time()})
    hear(stream)
    read(stream, BLOCK)
    stream.write(b"\0" * BLOCK)
    stream.flush()


def say(stream: Any, what: dict[str, Any]) -> None:
    stream.write(json.dumps(what).encode() + b"\n")
    stream.flush()


def hear(stream: Any) -> dict[str, Any]:
    line = stream.readline(1 << 20)
    if not line.endswith(b"\n"):
        raise OSError("the connection was closed")
    return json.loads(line)


def read(stream: Any, count: int) -> None:
    if len(stream.read(count)) < count:
        raise OSError("the connection was closed")
