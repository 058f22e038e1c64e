"""The peer that Spark ships: TorchDistributor's processes, DDP over gloo, fused Adam, rows from Parquet.

Run by TorchDistributor (torchrun) as: ddp.py '{"task": ..., "epochs": ..., "parquet": folder, "weights": file,
"times": file}'. Each rank keeps its share of the rows in memory; rank 0 leaves the weights and the seconds.
"""

import json
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


def train(task: tasks.Task, epochs: int, x: torch.Tensor, y: torch.Tensor) -> torch.nn.Module:
    network, loss = DistributedDataParallel(task.network()), task.loss()
    optimizer = torch.optim.Adam(network.parameters(), lr=tasks.LEARNING_RATE, fused=True)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(task.batch // dist.get_world_size()):
            optimizer.zero_grad()
            loss(network(x[rows]), y[rows]).backward()
            optimizer.step()
    return network.module


def main() -> None:
    options = json.loads(sys.argv[1])
    task = tasks.TASKS[options["task"]]
    dist.init_process_group("gloo")
    start = time.perf_counter()
    x, y = load_share(task, options["parquet"])
    dist.barrier()
    loaded = time.perf_counter()
    network = train(task, options["epochs"], x, y)
    dist.barrier()
    trained = time.perf_counter()
    if dist.get_rank() == 0:
        torch.save(network.state_dict(), options["weights"])
        Path(options["times"]).write_text(json.dumps({"load": loaded - start, "loop": trained - loaded}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
