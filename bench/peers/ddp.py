"""The peer that Spark ships: TorchDistributor's processes, DDP over gloo, fused Adam, rows from Parquet.

Run by TorchDistributor (torchrun) as: ddp.py '{"task": ..., "epochs": ..., "parquet": folder, "weights": file,
"times": file}'. Each rank keeps its share of the rows in memory; rank 0 leaves the weights and the seconds. With
"die_at" the last rank kills itself after that step; with "mark_at" rank 0 ends the training after it; both leave the
time in the file "mark".
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tasks


def load_share(task: tasks.Task, folder: str) -> tuple[torch.Tensor, torch.Tensor]:
    """This rank's rows; every rank has the same number, so that all make the same steps."""
    table = pq.read_table(folder)
    share = table.num_rows // dist.get_world_size()
    return tasks.to_tensors(tasks.to_arrays(table.slice(dist.get_rank() * share, share), task))


def is_over(options: dict, step: int) -> bool:
    """Whether nobody is interested in what follows."""
    last = dist.get_world_size() - 1
    if step == options.get("die_at") and dist.get_rank() == last:
        Path(options["mark"]).write_text(str(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)
    if step != options.get("mark_at"):
        return False
    if dist.get_rank() == 0:
        Path(options["mark"]).write_text(str(time.time()))
    return True


def train(task: tasks.Task, options: dict, x: torch.Tensor, y: torch.Tensor) -> torch.nn.Module:
    network, loss = DistributedDataParallel(task.network()), task.loss()
    optimizer = torch.optim.Adam(network.parameters(), lr=tasks.LEARNING_RATE, fused=True)
    step = 0
    for _ in range(options["epochs"]):
        for rows in torch.randperm(len(x)).split(task.batch // dist.get_world_size()):
            optimizer.zero_grad()
            loss(network(x[rows]), y[rows]).backward()
            optimizer.step()
            step += 1
            if is_over(options, step):
                return network.module
    return network.module


def main() -> None:
    options = json.loads(sys.argv[1])
    task = tasks.TASKS[options["task"]]
    dist.init_process_group("gloo")
    start = time.perf_counter()
    x, y = load_share(task, options["parquet"])
    dist.barrier()
    loaded = time.perf_counter()
    network = train(task, options, x, y)
    dist.barrier()
    trained = time.perf_counter()
    if dist.get_rank() == 0:
        torch.save(network.state_dict(), options["weights"])
        Path(options["times"]).write_text(json.dumps({"load": loaded - start, "loop": trained - loaded}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
