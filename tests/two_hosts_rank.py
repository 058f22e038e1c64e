"""One rank of a group, for test_two_hosts.py: says where it listens, hears where the others do, sums, says its digests.

A line of JSON each way on stdin and stdout.
"""

import hashlib
import json
import os
import sys

import numpy as np

from stoker import _core

FLOATS = 10 * 1024
STEPS = 5


def shard_vector(shard: int, step: int) -> np.ndarray:
    """Of wildly different magnitudes, so that any other order of addition shows."""
    random = np.random.default_rng([shard, step])
    return (random.standard_normal(FLOATS) * 2.0 ** random.integers(-40, 40, FLOATS)).astype(np.float32)


def sums(group: _core.Group, shards: int) -> list[list]:
    """[step, first float, hex of the slice] for each step."""
    total = _core.make_shard_sum(group, shards, FLOATS)
    seen = []
    for step in range(STEPS):
        present = [step == 0 or (shard + step) % 3 != 0 for shard in range(shards)]
        total.begin(step, present)
        for shard in range(*_core.owned_shards(group.rank, group.size, shards)):
            if present[shard]:
                total.put(shard, shard_vector(shard, step))
        total.exchange()
        blocks = total.sum().reshape(-1, 1024)
        first = total.slice[0] // 1024
        seen += [[step, first + i, hashlib.sha256(b.tobytes()).hexdigest()] for i, b in enumerate(blocks)]
        group.pass_step(step)
    return seen


def main() -> None:
    host, rank, shards = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    listeners = _core.Listeners(host)
    member = {"rank": rank, "host": host, "port": listeners.port, "unix_name": listeners.unix_name, "pid": os.getpid()}
    print(json.dumps(member), flush=True)
    members = json.loads(sys.stdin.readline())
    roster = {"generation": 1, "rank": rank, "members": members, "secret": b"of this test"}
    group = _core.form_group(roster, listeners)
    print(json.dumps({"hosts": group.hosts, "sums": sums(group, shards), "sent": group.bytes_sent}), flush=True)


if __name__ == "__main__":
    main()
