#!/usr/bin/env python3
"""Executes a notebook cell by cell and writes it with its outputs; ends with the error of the first cell that fails.

python scripts/run_notebook.py IN.ipynb OUT.ipynb        (needs nbclient and ipykernel)
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    notebook = nbformat.read(source, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    nbformat.write(notebook, target)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    pictures = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    print(f"{source.name}: {len(cells)} cells ran, {pictures} pictures")


if __name__ == "__main__":
    main()
