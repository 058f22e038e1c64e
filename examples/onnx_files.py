"""Says of ONNX files whether Stoker takes them, and compares what they give with onnxruntime.

    python examples/onnx_files.py FILE [FILE ...] [--shape 3,48,192] [--rows 3]

Of each file: its inputs, what is trained of it, the largest difference to onnxruntime on random rows, and whether it
compiles to a training program. What must hold: a difference below 1e-5 of the largest value.
"""

import argparse
import time
import warnings

import numpy as np
import onnxruntime
import torch

from stoker.frontend import torch as frontend
from stoker.frontend.onnx.build import module_of
from stoker.program import TensorSpec


def rows_of(entry, shape, count):
    """Random, of a graph's input."""
    sizes = shape or [size if isinstance(size, int) else 32 for size in entry.shape[1:]]
    rng = np.random.default_rng(0)
    if "float" in entry.type:
        return rng.normal(0, 1, (count, *sizes)).astype(np.float32)
    return rng.integers(0, 100, (count, *sizes)).astype(entry.type[len("tensor(") : -1])


def difference(module, session, rows):
    """The largest, relative to the largest value."""
    wanted = session.run(None, dict(zip([entry.name for entry in session.get_inputs()], rows)))
    with torch.no_grad():
        given = module.eval()(*map(torch.from_numpy, rows))
    found = given.values() if isinstance(given, dict) else [given]
    return max(np.abs(one.numpy() - other).max() / np.abs(other).max() for one, other in zip(found, wanted))


def squares(outputs, labels):
    first = next(iter(outputs.values())) if isinstance(outputs, dict) else outputs
    return ((first**2).flatten(1).sum(1) - labels) ** 2


def tried(path, shape, count):
    module = module_of(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    rows = [rows_of(entry, shape, count) for entry in session.get_inputs()]
    yield f"inputs {', '.join(f'{entry.name} {entry.type} {entry.shape}' for entry in session.get_inputs())}"
    yield f"{len(module.graph_nodes())} nodes, {len(list(module.parameters()))} weights that are trained"
    yield f"difference to onnxruntime {difference(module, session, rows):.1e}"
    specs = [TensorSpec(parameter.name, str(one.dtype), one.shape[1:])
             for parameter, one in zip(module.arguments(), rows)]  # fmt: skip
    start = time.perf_counter()
    compiled = frontend.compile(module, squares, specs, [TensorSpec("label")], loss_reduction="none")
    yield f"a training program of {len(compiled.train['nodes'])} nodes in {time.perf_counter() - start:.1f} s"
    yield from compiled.notes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--shape", type=lambda text: [int(size) for size in text.split(",")])
    parser.add_argument("--rows", type=int, default=3)
    told = parser.parse_args()
    warnings.simplefilter("ignore")
    for path in told.files:
        print(path)
        try:
            for line in tried(path, told.shape, told.rows):
                print("   ", line, flush=True)
        except Exception as error:  # of whatever file
            print("   ", str(error).strip().splitlines()[0], flush=True)


if __name__ == "__main__":
    main()
