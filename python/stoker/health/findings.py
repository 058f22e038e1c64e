"""What follows from facts: each fault in words, with its cure. Pure; one rule a function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from stoker.health import switches
from stoker.health.facts import Facts, where
from stoker.health.finding import ERROR, NOTE, WARNING, Finding

NEEDED = ("stoker", "torch", "numpy", "pyarrow")  # by workers
MIB, GIB = 1 << 20, 1 << 30
LEAST_MEMORY, LITTLE_MEMORY = 512 * MIB, 1 * GIB  # for a worker
LEAST_SPACE = 2 * GIB  # of addresses: loading libtorch takes most of one
LEAST_DISK, LITTLE_DISK = 64 * MIB, 1 * GIB
CLOCK = 2.0  # seconds apart
SLOW = 5e-3  # seconds there and back
NARROW = 50e6  # bytes a second
DESCRIPTORS = 1024
LEVELS = ("baseline", "AVX2", "AVX-512")
HOW_MANY = "spark.executor.instances, on standalone clusters spark.cores.max; spark.executor.cores, spark.task.cpus"
ASK_SPARK = "Spark's own log (its UI, the executors' stderr) says more"


@dataclass(frozen=True)
class Group:
    """Places of which the same is to be said."""

    places: list[str]

    def __str__(self) -> str:
        shown = ", ".join(self.places[:3])
        return shown if len(self.places) <= 3 else f"{shown} and {len(self.places) - 3} more"


def grouped(told: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(what, places) of (place, what), in the order of what came first."""
    by_what: dict[str, list[str]] = defaultdict(list)
    for place, what in told:
        by_what[what].append(place)
    for what, places in by_what.items():
        yield what, str(Group(places))


def address(facts: Facts) -> Iterator[Finding]:
    if facts.address_error:
        yield Finding(ERROR, "wrong-driver-address", "driver", facts.address_error,
                      "set spark.stoker.driver.host to the name or number by which executors reach this machine, and "
                      "spark.stoker.driver.bindAddress to one that it has itself (0.0.0.0: every one)")  # fmt: skip


def job(facts: Facts) -> Iterator[Finding]:
    text = facts.job_error
    if not text:
        return
    if "PYTHON_VERSION_MISMATCH" in text or "different minor version" in text:
        yield _other_python(text)
    elif "No module named" in text:
        name = text.split("No module named")[1].strip(" '\"").split("'")[0]
        yield _missing(name, "executors")
    elif facts.job_cancelled and facts.together > 0:
        yield Finding(WARNING, "slow-tasks", "cluster",
                      f"{facts.together} tasks ran and had not answered within {facts.seconds:.0f} s",
                      "executors are slow to start Python or to load torch, as from a cold disk: look again, or look "
                      "at what else runs on their machines")  # fmt: skip
    elif facts.job_cancelled:
        yield Finding(ERROR, "no-task-starts", "cluster", f"Spark started no task in {facts.seconds:.0f} s",
                      "the cluster gives this session no executor: look whether others hold its cores, whether it asks "
                      "for more memory or cores than a machine has (spark.executor.memory, spark.executor.cores), and "
                      "whether the master can be reached")  # fmt: skip
    else:
        yield Finding(ERROR, "job-failed", "cluster", f"a job that only looks around failed: {text}", ASK_SPARK)


def slots(facts: Facts) -> Iterator[Finding]:
    asked = facts.workers
    if facts.slots is not None and facts.slots < asked:
        yield Finding(ERROR, "too-few-slots", "session",
                      f"{asked} workers need {asked} tasks at the same time, and the session can run {facts.slots}",
                      f"use numWorkers={facts.slots} or less, or a session with more slots (spark.master, "
                      f"{HOW_MANY})")  # fmt: skip
    elif facts.tasks and facts.together < asked and all(not task["driver"]["error"] for task in facts.tasks):
        yield Finding(ERROR, "too-few-slots", "cluster",
                      f"{facts.together} of {asked} tasks ran at the same time: others hold slots, or executors are "
                      "still to come",
                      f"use numWorkers={max(facts.together, 1)} or less, or a session with more executors or cores "
                      f"({HOW_MANY}); minWorkers= begins with fewer")  # fmt: skip


def packages(facts: Facts) -> Iterator[Finding]:
    told = ((where(task), name) for task in facts.tasks for name in NEEDED
            if "error" not in task["packages"] and task["packages"].get(name) is None)  # fmt: skip
    for name, places in grouped(told):
        yield _missing(name, places)


def _missing(name: str, places: str) -> Finding:
    return Finding(ERROR, "missing-package", places, f"the Python of the executors has no package '{name}'",
                   f"install '{name}' there, for the Python that spark.pyspark.python or PYSPARK_PYTHON names, or ship "
                   "a packed environment by spark.archives")  # fmt: skip


def pythons(facts: Facts) -> Iterator[Finding]:
    own = facts.driver["python"]["version"]
    told = ((where(task), task["python"]["version"]) for task in facts.tasks
            if minor(task["python"].get("version", own)) != minor(own))  # fmt: skip
    for version, places in grouped(told):
        yield _other_python(f"{places}: Python {version}, and the driver has {own}")


def _other_python(text: str) -> Finding:
    return Finding(ERROR, "other-python", "executors", text,
                   "executors and driver need the same minor version of Python: set spark.pyspark.python "
                   "(PYSPARK_PYTHON) and spark.pyspark.driver.python")  # fmt: skip


def torches(facts: Facts) -> Iterator[Finding]:
    own = facts.driver["packages"].get("torch")
    told = ((where(task), task["packages"]["torch"]) for task in facts.tasks
            if task["packages"].get("torch") not in (None, own))  # fmt: skip
    for version, places in grouped(told):
        yield Finding(ERROR, "other-torch", places, f"torch {version} is there, and the driver has {own}",
                      f"install the same torch on driver and executors: torch=={own}")  # fmt: skip


def stokers(facts: Facts) -> Iterator[Finding]:
    own = facts.driver["engine"].get("version")
    told = ((where(task), task["engine"]["version"]) for task in facts.tasks
            if task["engine"].get("version") not in (None, own))  # fmt: skip
    for version, places in grouped(told):
        yield Finding(ERROR, "other-stoker", places, f"Stoker {version} is there, and the driver has {own}",
                      f"install the same wheel everywhere: stoker=={own}")  # fmt: skip


def engines(facts: Facts) -> Iterator[Finding]:
    told = ((where(task), task["engine"]["error"]) for task in facts.tasks
            if "error" in task["engine"] and not _absent(task))  # fmt: skip
    for error, places in grouped(told):
        yield Finding(ERROR, "engine-fails", places, f"the engine does not load: {error}",
                      "install the wheel of Stoker for this Python and the torch that it names, on a file system that "
                      "allows programs (not noexec), on x86-64 Linux")  # fmt: skip


def _absent(task: dict[str, Any]) -> bool:
    return any(task["packages"].get(name) is None for name in NEEDED)


def levels(facts: Facts) -> Iterator[Finding]:
    by_level: dict[int, list[str]] = defaultdict(list)
    for task in facts.tasks:
        if task["engine"].get("isa") is not None:
            by_level[task["engine"]["isa"]].append(where(task))
    if len(by_level) > 1:
        told = "; ".join(f"{Group(places)}: {LEVELS[level]}" for level, places in sorted(by_level.items()))
        yield Finding(WARNING, "mixed-instruction-sets", "executors", told,
                      f"all workers run at the lowest level, {LEVELS[min(by_level)]}; for speed use machines of one "
                      "kind. If they still compute other bits, spark.stoker.arithmetic=any lets them in")  # fmt: skip


def driver_reach(facts: Facts) -> Iterator[Finding]:
    told = ((where(task), task["driver"]["error"]) for task in facts.tasks if task["driver"]["error"])
    for error, places in grouped(told):
        name = "name" if any(word in error.lower() for word in ("name or service", "resolution", "nodename")) else ""
        if name:
            yield Finding(ERROR, "wrong-host-name", places, f"the driver's name is not known there: {error}",
                          "set spark.stoker.driver.host to a name or number that executors can look up")  # fmt: skip
        else:
            yield Finding(ERROR, "driver-unreachable", places, f"the driver cannot be reached: {error}",
                          "open that port in the firewall or network policy; spark.stoker.driver.port fixes it (a port "
                          "or a range), spark.stoker.driver.host and .bindAddress say where the driver is")  # fmt: skip


def peer_reach(facts: Facts) -> Iterator[Finding]:
    told = ((f"{where(task)} to worker {peer['task']} on {peer['name']}", peer["error"])
            for task in facts.tasks for peer in task["peers"] if peer["error"])  # fmt: skip
    for error, places in grouped(told):
        yield Finding(ERROR, "peer-unreachable", places, f"workers do not reach each other: {error}",
                      "open ports between executors: spark.stoker.peer.ports fixes them, spark.stoker.peer.host and "
                      ".bindAddress say where a worker is")  # fmt: skip
    for error, places in grouped((where(task), task["listen_error"]) for task in facts.tasks if "listen_error" in task):
        yield Finding(ERROR, "worker-cannot-listen", places, error,
                      "give spark.stoker.peer.ports as many ports as workers run on one host, and "
                      "spark.stoker.peer.host and .bindAddress what the executors have")  # fmt: skip


def ways(facts: Facts) -> Iterator[Finding]:
    """Slow ones, between hosts."""
    for task in facts.tasks:
        for peer in task["peers"]:
            if peer["error"] or peer["name"] == task["host"]:
                continue
            if peer["latency"] > SLOW or peer["bandwidth"] < NARROW:
                text = f"{peer['latency'] * 1e3:.1f} ms there and back, {peer['bandwidth'] / 1e6:.0f} MB/s"
                yield Finding(WARNING, "slow-network", f"{where(task)} to {peer['name']}", text,
                              "each step waits for the sums of gradients: take larger batches, or a strategy that "
                              "sends less (stoker.LocalSGD, stoker.DiLoCo)")  # fmt: skip


def memory(facts: Facts) -> Iterator[Finding]:
    beside: dict[str, int] = defaultdict(int)
    for task in facts.tasks:
        beside[task["host"]] += 1
    for task in facts.tasks:
        if "error" in task["memory"]:
            continue
        space = task["memory"]["address_space"]
        if space is not None and space < LEAST_SPACE:  # what is left of it is not told too
            yield Finding(ERROR, "little-memory", where(task), f"its address space is limited to {mb(space)}",
                          "raise spark.executor.pyspark.memory to 2g or more, or leave it unset")  # fmt: skip
        else:
            yield from _of_limits(task, beside[task["host"]])


def _of_limits(task: dict[str, Any], beside: int) -> Iterator[Finding]:
    free = {"what": "the machine's free memory", "setting": "the executors' machine, or use fewer workers on it",
            "left": task["memory"]["free"]}  # fmt: skip
    for limit in [*task["memory"]["limits"], free]:
        share = limit["left"] // beside
        if share < LITTLE_MEMORY:
            level = ERROR if share < LEAST_MEMORY else WARNING
            yield Finding(level, "little-memory", where(task),
                          f"{mb(share)} are left for each worker of {limit['what']}, before it has read a row",
                          f"raise {limit['setting']}")  # fmt: skip
            return


def disk(facts: Facts) -> Iterator[Finding]:
    for task in facts.tasks:
        if isinstance(task["disk"], dict):
            continue
        for folder in task["disk"]:
            yield from _of_folder(where(task), folder)


def _of_folder(place: str, folder: dict[str, Any]) -> Iterator[Finding]:
    cure = "spark.local.dir (on a cluster SPARK_LOCAL_DIRS or the manager's own setting) names folders for rows beyond "
    cure += "storeMemory and for shuffles: take one that can be written to and has room"
    full = folder["free"] is not None and folder["free"] < LEAST_DISK
    if folder["error"] and "space" not in folder["error"]:
        yield Finding(ERROR, "folder-not-writable", place, f"nothing can be written in {folder['folder']}: "
                      f"{folder['error']}", cure)  # fmt: skip
    elif folder["free"] is not None and folder["free"] < LITTLE_DISK:
        yield Finding(ERROR if full else WARNING, "full-disk", place,
                      f"{folder['folder']} has {mb(folder['free'])} left", cure)  # fmt: skip


def clock(facts: Facts) -> Iterator[Finding]:
    for task in facts.tasks:
        ahead = -task["driver"].get("ahead", 0.0)
        if abs(ahead) > CLOCK:
            word = "ahead of" if ahead > 0 else "behind"
            yield Finding(WARNING, "clock-off", where(task), f"its clock is {abs(ahead):.1f} s {word} the driver's",
                          "keep clocks by NTP: a fit does not depend on them, but times in logs cannot be compared, "
                          "and object stores refuse keys of a wrong time")  # fmt: skip


def descriptors(facts: Facts) -> Iterator[Finding]:
    for task in facts.tasks:
        if isinstance(task["descriptors"], int) and 0 <= task["descriptors"] < max(DESCRIPTORS, 4 * facts.workers):
            yield Finding(WARNING, "few-descriptors", where(task),
                          f"a process may open {task['descriptors']} files and connections at most",
                          "raise the limit (ulimit -n, LimitNOFILE of the service) to 4096 or more")  # fmt: skip


def encryption(facts: Facts) -> Iterator[Finding]:
    if not (facts.settings.get("spark.master") or "").startswith("local") and not facts.is_on("spark.authenticate"):
        yield Finding(NOTE, "no-authentication", "session", "Spark's own connections are not authenticated",
                      "where others share the network set spark.authenticate=true and "
                      "spark.network.crypto.enabled=true: a fit's secret travels with Spark's tasks")  # fmt: skip


Rule = Callable[[Facts], Iterator[Finding]]
RULES: tuple[Rule, ...] = (address, job, slots, packages, pythons, torches, stokers, engines, driver_reach, peer_reach,
                           memory, disk, levels, ways, clock, descriptors, *switches.RULES, encryption)  # fmt: skip


def find(facts: Facts) -> list[Finding]:
    """Errors first, in the order of the rules."""
    found = [finding for rule in RULES for finding in rule(facts)]
    return sorted(found, key=lambda finding: (ERROR, WARNING, NOTE).index(finding.level))


def minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def mb(count: int) -> str:
    return f"{count / MIB:,.0f} MB"
