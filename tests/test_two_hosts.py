"""Two hosts as two network namespaces joined by a veth pair: four ranks sum to the same bits as on one host."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from faulty_gang import NAMESPACE, FaultyGang
from local_gang import LocalFit
from stoker.events import Event, Failed, Metrics
from test_exact import make_fit, without_times

RANK = Path(__file__).with_name("two_hosts_rank.py")
SHARDS = 12


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def make_hosts(names: list[str], addresses: list[str], ends: list[str]) -> None:
    for name in names:
        ip("netns", "add", name)
    ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
    for name, address, end in zip(names, addresses, ends, strict=True):
        ip("-n", name, "addr", "add", f"{address}/24", "dev", end)
        ip("-n", name, "link", "set", end, "up")
        ip("-n", name, "link", "set", "lo", "up")


@contextmanager
def two_hosts() -> Iterator[list[tuple[str, str]]]:
    """Two (namespace, address). Needs root and `ip`."""
    names = [f"stoker-{os.getpid()}-{i}" for i in range(2)]
    addresses = ["10.213.7.1", "10.213.7.2"]
    try:
        make_hosts(names, addresses, [f"stk{os.getpid() % 100000}{side}" for side in "ab"])
        yield list(zip(names, addresses, strict=True))
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[list[tuple[str, str]]]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    if shutil.which("ip") is None:
        pytest.skip("there is no `ip` command")
    with two_hosts() as places:
        yield places


def run_ranks(places: list[tuple[list[str], str]]) -> list[dict]:
    """One rank for each (command prefix, address); what each says at the end."""
    ranks = []
    try:
        for rank, (prefix, address) in enumerate(places):
            command = [*prefix, sys.executable, str(RANK), address, str(rank), str(SHARDS)]
            ranks.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        members = [json.loads(rank.stdout.readline()) for rank in ranks]
        said = []
        for rank in ranks:
            rank.stdin.write(json.dumps(members) + "\n")
            rank.stdin.flush()
        for rank in ranks:
            out, _ = rank.communicate(timeout=60)
            assert rank.returncode == 0
            said.append(json.loads(out))
        return said
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()


def blocks_of(said: list[dict]) -> dict[tuple[int, int], set[str]]:
    """Digests of each (step, block), over all ranks that hold it."""
    blocks: dict[tuple[int, int], set[str]] = {}
    for rank in said:
        for step, block, digest in rank["sums"]:
            blocks.setdefault((step, block), set()).add(digest)
    return blocks


def test_sums_over_two_hosts_have_the_bits_of_one_host(hosts):
    one = run_ranks([([], "127.0.0.1")] * 4)
    assert [rank["hosts"] for rank in one] == [1] * 4
    assert [rank["sent"] for rank in one] == [0] * 4

    places = [(["ip", "netns", "exec", name], address) for name, address in hosts for _ in range(2)]
    for order in (places, [places[0], places[2], places[1], places[3]]):  # neighbours together, and interleaved
        two = run_ranks(order)
        assert [rank["hosts"] for rank in two] == [2] * 4
        assert all(rank["sent"] > 0 for rank in two)
        assert len(blocks_of(two)) == 5 * 10
        assert all(len(digests) == 1 for digests in blocks_of(two).values())
        assert blocks_of(two) == blocks_of(one)


class KillAt:
    """Kills each (rank, epoch) once, when rank 0 tells that its epoch has come."""

    def __init__(self, *kills: tuple[int, int]) -> None:
        self.left = list(kills)

    def __call__(self, gang: FaultyGang, event: Event) -> None:
        while isinstance(event, Metrics) and self.left and event.epoch >= self.left[0][1]:
            gang.kill(self.left.pop(0)[0])


def killed(hosts: list[tuple[str, str]], fit: LocalFit, kills: Sequence[tuple[int, int]]) -> dict:
    """The history of a fit of two workers on each host, of which some are killed."""
    places = {partition: {NAMESPACE: hosts[partition // 2][0]} for partition in range(4)}
    gang = FaultyGang(fit, 4, on_event=KillAt(*kills), environment=lambda partition, _: places[partition],
                      namespace=hosts[0][0], host=hosts[0][1])  # fmt: skip
    outcome = gang.run()
    assert len(outcome.told(Failed)) == len(kills)
    assert outcome.history["epochs"][-1]["bytes_sent"] > 0
    return without_times(outcome.history)


@pytest.mark.parametrize(
    "kills",
    [[], [(1, 2)], [(0, 2)], [(2, 2), (3, 2)], [(0, 2), (1, 2)], [(1, 2), (2, 3), (0, 4)]],
    ids=["nobody", "one", "first", "a-whole-host", "the-driver-s-host", "one-after-another"],
)
def test_a_gang_over_two_hosts_comes_back_from_deaths_to_the_same_bits(hosts, kills):
    fit = make_fit("mlp", shards=4, rows=600, epochs=6, batch_size=16)
    wanted = without_times(FaultyGang(fit, 1).run().history)
    assert killed(hosts, fit, kills) == wanted
