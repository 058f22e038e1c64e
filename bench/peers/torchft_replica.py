"""One replica of the peer that comes through deaths: torchft's manager and optimizer over gloo, fused Adam.

Gradients are summed in one piece by the manager itself: the DDP of torchft 0.2.0 ends its process when a sum over gloo
fails (an assertion in its hook), and with it every survivor.

Run as: torchft_replica.py '{"task": ..., "lighthouse": address, "replica": number, "replicas": number, "times": file}'
until it is killed. It appends a line to the file for each second: the time, and the batches that all replicas together
have committed. All rows lie in memory, as torchft's sampler wants; each replica takes its part of a batch.
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.utils import parameters_to_vector
from torchft import Manager, Optimizer, ProcessGroupGloo

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tasks

PATIENCE = timedelta(seconds=10)  # with sums and quorums, as long as Stoker's heartbeatTimeout


class Replica:
    def __init__(self, options: dict[str, Any]) -> None:
        task = tasks.TASKS[options["task"]]
        torch.manual_seed(1)
        self.network, self.loss = task.network(), task.loss()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=tasks.LEARNING_RATE, fused=True)
        self.rows = task.batch // options["replicas"]
        self.x, self.y = tasks.to_tensors(task.arrays("train"))
        self.manager = self._join(options)
        self.stepper = Optimizer(self.manager, self.optimizer)

    def _join(self, options: dict[str, Any]) -> Manager:
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.store = store
        return Manager(
            pg=ProcessGroupGloo(timeout=PATIENCE), load_state_dict=self.load, state_dict=self.save, min_replica_size=2,
            timeout=PATIENCE, quorum_timeout=PATIENCE, connect_timeout=PATIENCE, rank=0, world_size=1,
            store_addr="127.0.0.1", store_port=store.port, lighthouse_addr=options["lighthouse"],
            replica_id=f"replica_{options['replica']}_", hostname="127.0.0.1",
        )  # fmt: skip

    def save(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def step(self) -> None:
        rows = torch.randint(0, len(self.x), (self.rows,))
        self.stepper.zero_grad()
        self.loss(self.network(self.x[rows]), self.y[rows]).backward()
        gradients = [parameter.grad for parameter in self.network.parameters()]
        mean = parameters_to_vector(gradients)
        self.manager.allreduce(mean).wait()
        for gradient, part in zip(gradients, mean.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))
        self.stepper.step()


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(1)
    replica, told = Replica(options), 0.0
    with Path(options["times"]).open("a") as times:
        while True:
            replica.step()
            if (now := time.time()) - told >= 1:
                told = now
                times.write(f"{now} {replica.manager.batches_committed()}\n")
                times.flush()


if __name__ == "__main__":
    main()
