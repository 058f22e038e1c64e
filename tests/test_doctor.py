"""Each fault that can be planted in facts is found, with its cure, and a sound cluster has none; what tasks gather is
there where no cluster is needed for it."""

import json
import sys
import threading
import time
from dataclasses import replace

import pytest

from stoker.health import probe
from stoker.health.facts import Facts
from stoker.health.findings import find
from stoker.health.meeting import Meeting, neighbours
from stoker.health.report import Report

GIB = 1 << 30
OWN = {"python": {"version": "3.11.7"}, "packages": {"torch": "2.13.0+cpu"}, "engine": {"version": "0.1.0"},
       "spark": "4.3.0"}  # fmt: skip


def worker(number, **changes):
    """Facts of a sound one."""
    other = 1 - number
    return {
        "task": number,
        "host": f"host{number}",
        "met": True,
        "driver": {"error": "", "latency": 1e-4, "bandwidth": 1e9, "ahead": 0.0},
        "peers": [
            {"task": other, "name": f"host{other}", "error": "", "latency": 1e-4, "bandwidth": 1e9, "ahead": 0.0}
        ],
        "python": {"version": "3.11.9", "executable": "/usr/bin/python3"},
        "packages": dict.fromkeys(probe.PACKAGES, "1.0") | {"torch": "2.13.0+cpu"},
        "engine": {"version": "0.1.0", "torch": "2.13.0", "isa": 2},
        "cpu": {"name": "A CPU", "cores": 4},
        "memory": {"free": 16 * GIB, "limits": [], "address_space": None},
        "disk": [{"folder": "/tmp", "free": 100 * GIB, "error": ""}],
        "descriptors": 65536,
        **changes,
    }


SOUND = Facts(2, None, 2, {"spark.master": "yarn", "spark.authenticate": "true"}, OWN, [worker(0), worker(1)])


def second(**changes):
    """A cluster whose second worker is so."""
    return replace(SOUND, tasks=[worker(0), worker(1, **changes)])


def session(**settings):
    """A cluster with settings of Spark, dots as underscores."""
    told = {f"spark.{key.replace('_', '.')}": value for key, value in settings.items()}
    return replace(SOUND, settings={**SOUND.settings, **told})


def without(name):
    return worker(1)["packages"] | {name: None}


def folder(**changes):
    return [{"folder": "/data", "free": 100 * GIB, "error": "", **changes}]


def container(left):
    return {"free": 16 * GIB, "address_space": None,
            "limits": [{"what": "the container's memory", "setting": "spark.executor.memoryOverhead",
                        "bytes": GIB, "left": left}]}  # fmt: skip


FAULTS = {  # (facts, level, name of the finding, what is said, of the cure)
    "a package is missing": (
        second(packages=without("torch")),
        "error", "missing-package", "worker 1 on host1: the Python of the executors has no package 'torch'",
        "spark.archives",
    ),
    "the hand-over's package is missing": (
        replace(SOUND, tasks=[], job_error="ModuleNotFoundError: No module named 'pyarrow'"),
        "error", "missing-package", "no package 'pyarrow'", "PYSPARK_PYTHON",
    ),
    "another torch": (
        second(packages=worker(1)["packages"] | {"torch": "2.12.1"}),
        "error", "other-torch", "torch 2.12.1 is there, and the driver has 2.13.0", "torch==2.13.0",
    ),
    "another Stoker": (
        second(engine={"version": "0.0.9", "isa": 2}),
        "error", "other-stoker", "Stoker 0.0.9 is there, and the driver has 0.1.0", "same wheel",
    ),
    "another Python": (
        second(python={"version": "3.12.1"}),
        "error", "other-python", "Python 3.12.1, and the driver has 3.11.7", "spark.pyspark.python",
    ),
    "the engine does not load": (
        second(engine={"error": "OSError: libgomp.so.1: cannot open", "isa": 2}),
        "error", "engine-fails", "libgomp.so.1", "noexec",
    ),
    "the driver's port is blocked": (
        second(driver={"error": "driver:7337: timed out"}, met=False, peers=[]),
        "error", "driver-unreachable", "driver:7337: timed out", "spark.stoker.driver.port",
    ),
    "the driver's name is wrong": (
        second(driver={"error": "nowhere:7337: [Errno -2] Name or service not known"}, met=False, peers=[]),
        "error", "wrong-host-name", "the driver's name is not known there", "spark.stoker.driver.host",
    ),
    "the driver has no such address": (
        replace(SOUND, tasks=[], address_error="this machine finds no such address"),
        "error", "wrong-driver-address", "finds no such address", "bindAddress",
    ),
    "workers do not reach each other": (
        second(peers=[{"task": 0, "name": "host0", "error": "10.0.0.1:4000: timed out"}]),
        "error", "peer-unreachable", "worker 1 on host1 to worker 0 on host0", "spark.stoker.peer.ports",
    ),
    "a worker has no port left": (
        second(listen_error="cannot listen on 10.0.0.2, ports 4000 to 4000: in use"),
        "error", "worker-cannot-listen", "ports 4000 to 4000", "as many ports as workers",
    ),
    "one slot too few by the settings": (
        replace(SOUND, slots=1), "error", "too-few-slots", "the session can run 1", "numWorkers=1",
    ),
    "one slot too few on the cluster": (
        replace(SOUND, together=1), "error", "too-few-slots", "1 of 2 tasks ran at the same time", "minWorkers",
    ),
    "no executor comes": (
        replace(SOUND, tasks=[], together=0, job_error="TimeoutError", job_cancelled=True, seconds=120.0),
        "error", "no-task-starts", "Spark started no task in 120 s", "spark.executor.memory",
    ),
    "tasks are slow": (
        replace(SOUND, tasks=[], job_error="TimeoutError", job_cancelled=True, seconds=20.0),
        "warning", "slow-tasks", "2 tasks ran and had not answered within 20 s", "cold disk",
    ),
    "the disk is full": (
        second(disk=folder(free=1000, error="No space left on device")),
        "error", "full-disk", "/data has 0 MB left", "SPARK_LOCAL_DIRS",
    ),
    "the disk is nearly full": (
        second(disk=folder(free=GIB // 2)), "warning", "full-disk", "512 MB left", "spark.local.dir",
    ),
    "the local folder cannot be written": (
        second(disk=folder(error="Read-only file system")),
        "error", "folder-not-writable", "nothing can be written in /data: Read-only file system", "spark.local.dir",
    ),
    "little memory in the container": (
        second(memory=container(GIB // 4)),
        "error", "little-memory", "256 MB are left for each worker", "spark.executor.memoryOverhead",
    ),
    "little memory on the machine": (
        second(memory={"free": GIB // 4, "limits": [], "address_space": None}),
        "error", "little-memory", "the machine's free memory", "fewer workers",
    ),
    "little address space": (
        second(memory={"free": 16 * GIB, "limits": [], "address_space": GIB}),
        "error", "little-memory", "limited to 1,024 MB", "spark.executor.pyspark.memory",
    ),
    "another instruction set": (
        second(engine={"version": "0.1.0", "isa": 1}),
        "warning", "mixed-instruction-sets", "worker 1 on host1: AVX2; worker 0 on host0: AVX-512", "machines of one",
    ),
    "a clock is off": (
        second(driver={"error": "", "latency": 1e-4, "bandwidth": 1e9, "ahead": -5.0}),
        "warning", "clock-off", "worker 1 on host1: its clock is 5.0 s ahead of", "NTP",
    ),
    "a slow way": (
        second(peers=[{"task": 0, "name": "host0", "error": "", "latency": 0.02, "bandwidth": 1e7}]),
        "warning", "slow-network", "20.0 ms there and back, 10 MB/s", "LocalSGD",
    ),
    "few descriptors": (second(descriptors=256), "warning", "few-descriptors", "256 files", "ulimit"),
    "the idle killer is on": (
        session(python_worker_killOnIdleTimeout="true", python_worker_idleTimeoutSeconds="60s"),
        "error", "idle-killer", "send no rows for 60 s", "killOnIdleTimeout=false",
    ),
    "Spark does not try again": (session(task_maxFailures="1"), "warning", "no-retries", "maxFailures=1", "4 or more"),
    "local[N] does not try again": (session(master="local[2]"), "note", "no-retries", "local[2]", "local[N,8]"),
    "speculation": (session(speculation="true"), "note", "speculation", "second attempts", "turn it off"),
    "dynamic allocation with few executors": (
        session(dynamicAllocation_enabled="true", dynamicAllocation_maxExecutors="1"),
        "warning", "few-executors", "maxExecutors=1", "raise it",
    ),
    "dynamic allocation": (
        session(dynamicAllocation_enabled="true"), "note", "dynamic-allocation", "waits until", "minExecutors",
    ),
    "no reuse of workers": (session(python_worker_reuse="false"), "note", "no-worker-reuse", "anew", "true"),
    "pipelined transfer over Unix sockets": (
        session(python_udf_pipelined_enabled="true", python_unix_domain_socket_enabled="true"),
        "warning", "pipelined-over-unix-sockets", "crashed", "one of them off",
    ),
    "columnar input off": (
        session(sql_execution_arrow_pythonUDF_columnarInput_enabled="false"),
        "note", "no-columnar-input", "row by row", "leave it on",
    ),
    "no authentication": (
        session(authenticate=None), "note", "no-authentication", "not authenticated", "spark.authenticate",
    ),
}  # fmt: skip


def test_a_sound_cluster_has_no_findings():
    assert find(SOUND) == []
    assert "Nothing is wrong." in str(Report(SOUND, []))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_alone_and_with_its_cure(fault):
    facts, level, name, text, cure = FAULTS[fault]
    (finding,) = find(facts)
    assert (finding.level, finding.name) == (level, name)
    assert text in str(finding) and cure in finding.cure


def test_errors_come_first_and_stand_in_the_brief():
    facts = replace(second(packages=without("torch")), settings={"spark.master": "local[2]"})
    report = Report(facts, find(facts))
    assert [finding.level for finding in report.findings] == ["error", "note"]
    assert not report.ok and report.brief().startswith("stoker.doctor finds: worker 1 on host1: the Python of")
    assert "local[2]" not in report.brief()
    assert json.loads(report.to_json())["findings"][0]["name"] == "missing-package"


def test_the_same_fault_in_many_places_is_said_once():
    facts = replace(SOUND, tasks=[worker(0, packages=without("torch")) | {"task": i} for i in range(6)], together=6,
                    workers=6)  # fmt: skip
    (finding,) = find(facts)
    assert finding.place == "worker 0 on host0, worker 1 on host0, worker 2 on host0 and 3 more"


def test_the_table_shows_each_worker_also_where_facts_could_not_be_had():
    broken = worker(1) | {name: {"error": "OSError"} for name in ("python", "engine", "memory", "disk", "cpu")}
    lines = str(Report(replace(SOUND, tasks=[worker(0), broken]), [])).splitlines()
    assert "AVX-512" in lines[3] and "16,384 MB" in lines[3] and "0.10 ms 1,000 MB/s" in lines[3]
    assert lines[4].split()[:3] == ["1", "host1", "?"]


def test_facts_of_the_process_are_gathered(monkeypatch):
    monkeypatch.setenv("SPARK_LOCAL_DIRS", "/proc,/nowhere")
    assert probe.python()["executable"] == sys.executable
    assert probe.packages()["torch"].startswith("2.13") and probe.packages()["numpy"]
    assert probe.memory()["free"] > 0 and probe.descriptors() != 0
    assert [bool(told["error"]) for told in probe.disk()] == [True, True]


def test_tasks_meet_and_measure_each_other():
    meeting = Meeting("127.0.0.1", (0, 0), 3)
    place = probe.Place("127.0.0.1", meeting.port, meeting.token)
    told = meet_all(place, 3)
    assert meeting.wait(5.0, lambda: False) == 3
    meeting.close()
    for facts in told():
        assert facts["met"] and facts["driver"]["latency"] > 0 and abs(facts["driver"]["ahead"]) < 0.5
        assert [peer["error"] for peer in facts["peers"]] == ["", ""]


def test_who_comes_too_late_meets_nobody_and_those_that_came_do_not_wait_for_ever():
    meeting = Meeting("127.0.0.1", (0, 0), 3)
    place = probe.Place("127.0.0.1", meeting.port, meeting.token)
    early = meet_all(place, 2)
    assert meeting.wait(0.3, lambda: False) == 2
    late = probe.meet(place, 2)
    meeting.close()
    assert not late["met"] and late["peers"] == []
    assert all(facts["met"] and len(facts["peers"]) == 1 for facts in early())


def test_a_stranger_is_not_told_anything():
    meeting = Meeting("127.0.0.1", (0, 0), 1)
    told = probe.meet(probe.Place("127.0.0.1", meeting.port, "guessed"), 0)
    meeting.close()
    assert "hung up" in told["driver"]["error"]


def test_a_driver_that_cannot_be_reached_is_told():
    meeting = Meeting("127.0.0.1", (0, 0), 1)
    meeting.close()
    time.sleep(0.05)
    told = probe.meet(probe.Place("127.0.0.1", meeting.port, ""), 0)
    assert f"127.0.0.1:{meeting.port}" in told["driver"]["error"]


def test_each_task_measures_those_after_it():
    ready = {task: {"task": task, "port": task != 2} for task in range(12)}
    assert [peer["task"] for peer in neighbours(10, ready)] == [11, 0, 1, 3, 4, 5, 6]


def meet_all(place, count):
    """Tasks as threads; what this returns waits for their facts."""
    told = {}

    def one(number):
        told[number] = probe.meet(place, number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()

    def facts():
        for thread in threads:
            thread.join(10)
        return [told[number] for number in range(count)]

    return facts
