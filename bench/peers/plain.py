"""The peer that knows nothing of Spark: one PyTorch process, rows already in memory, fused Adam.

Run by bench/fit.py as: plain.py '{"task": ..., "threads": ..., "epochs": ..., "weights": file}'. Prints one JSON line.
"""

import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tasks


def train(task: tasks.Task, epochs: int, x: torch.Tensor, y: torch.Tensor) -> torch.nn.Module:
    network, loss = task.network(), task.loss()
    optimizer = torch.optim.Adam(network.parameters(), lr=tasks.LEARNING_RATE, fused=True)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(task.batch):
            optimizer.zero_grad()
            loss(network(x[rows]), y[rows]).backward()
            optimizer.step()
    return network


def main() -> None:
    options = json.loads(sys.argv[1])
    torch.set_num_threads(options["threads"])
    task = tasks.TASKS[options["task"]]
    x, y = tasks.to_tensors(task.arrays("train"))
    start = time.perf_counter()
    network = train(task, options["epochs"], x, y)
    seconds = time.perf_counter() - start
    torch.save(network.state_dict(), options["weights"])
    print(json.dumps({"seconds": seconds, "loop": seconds}))


if __name__ == "__main__":
    main()
