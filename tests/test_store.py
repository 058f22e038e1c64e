"""Rows on disk give the bits of rows in memory, and the ledger is exact: each row once an epoch, whatever happens."""

import os
import subprocess
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from conftest import blobs, table
from faulty_gang import FaultyGang
from local_gang import LocalFit, run
from stoker import StokerClassifier
from stoker.errors import UserError
from stoker.events import Failed
from stoker.fit.rows_told import warn_of_skew
from stoker.fit.settings import FitSettings
from stoker.frontend.torch import compile as compile_module
from stoker.history import History
from stoker.observe.story import Story
from stoker.program import TensorSpec
from stoker.spark.limits import memory
from stoker.spark.placement import Placement
from test_exact import assert_same, make_fit


def on_disk(budget, encrypt=False):
    return {"store": {"memory": budget, "neighbours": 1, "overhead": None, "encrypt": encrypt}}


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_rows_on_disk_change_no_bit(workers):
    """Of 79 kB of rows a worker has 80 kB, 20 kB or next to nothing in memory."""
    wanted = run(make_fit("cnn"), 1)
    for budget, encrypt in ((80_000 // workers, False), (20_000 // workers, True), (1, False)):
        story = Story([])
        spilled = run(make_fit("cnn", **on_disk(budget, encrypt)), workers, order_seed=budget, observe=story.event)
        assert_same(wanted, spilled)
        assert story.info()["disk"]["rows"] == 300 * (64 * 4 + 8)  # all workers had rows on disk


@pytest.fixture
def tiny_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "stoker-test", str(tmp_path)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("tmpfs cannot be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_says_what_is_missing_and_where(tiny_disk):
    said = []

    def observe(event):
        if isinstance(event, Failed):
            said.append(event.text)
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(make_fit("mlp", **on_disk(100)), 1, [{"SPARK_LOCAL_DIRS": str(tiny_disk)}], observe=observe)
    assert said == ["rows beyond storeMemory do not fit on disk: 0 MB are there, 16 MB more are needed at once in "
                    f"{tiny_disk} (1 MB free); give spark.local.dir more room or the fit more memory: "
                    "No space left on device (errno 28)"]  # fmt: skip


IDS = 500


class Ledger(nn.Module):
    """One weight per row id. Plain SGD of rate 1 on their sum counts each id down once for each time it is seen."""

    def __init__(self):
        super().__init__()
        self.seen = nn.Embedding(IDS, 1)
        nn.init.zeros_(self.seen.weight)

    def forward(self, ids):
        return self.seen(ids)


SHARDS_OF_IDS = {
    "even": np.arange(IDS) % 5,
    "uneven": np.searchsorted([3, 4, 150, 160], np.arange(IDS), side="right"),
    "empty": np.where(np.arange(IDS) < 100, 1, 4),
}


def ledger(shards="even", epochs=3, **more):
    compiled = compile_module(Ledger(), lambda outputs, labels: (outputs[:, 0] * labels).sum(),
                              [TensorSpec("ids", "int64", ())], [TensorSpec("label", "float32", ())],
                              loss_reduction="sum")  # fmt: skip
    columns = [{"name": name, "shown": name, "dtype": dtype, "shape": []}
               for name, dtype in (("ids", "int64"), ("label", "float32"))]  # fmt: skip
    values = {"ids": np.arange(IDS), "label": np.ones(IDS, np.float32)}
    optimizer = {"name": "sgd", "groups": [{"lr": 1.0}]}
    return LocalFit(compiled, columns, values, optimizer, 5, {"epochs": epochs, **more}, SHARDS_OF_IDS[shards])


def times_seen(weights):
    return (-weights["seen.weight"][:, 0]).tolist()


@pytest.mark.parametrize("shards", SHARDS_OF_IDS)
@pytest.mark.parametrize(("workers", "store"), [(1, {}), (2, on_disk(500)), (4, on_disk(2000, encrypt=True))])
def test_each_row_is_seen_once_an_epoch(shards, workers, store):
    for epochs in (1, 3):
        weights, history = run(ledger(shards, epochs, **store), workers)
        assert times_seen(weights) == [epochs] * IDS
        assert [epoch["rows"] for epoch in history["epochs"]] == [IDS] * epochs


@pytest.mark.parametrize("store", [{}, on_disk(500)])
def test_each_row_is_seen_once_an_epoch_though_workers_die(store):
    def dying(partition, number):
        orders = {(0, 0): "forward@7=die", (1, 0): "flipped@19=die", (0, 1): "forward@30=die"}
        return {"STOKER_FAULTS": orders[partition, number]} if (partition, number) in orders else {}

    outcome = FaultyGang(ledger("uneven", **store), 3, environment=dying).run()
    assert [len(pids) for pids in outcome.pids] == [3, 2, 1]
    assert times_seen(outcome.weights) == [3] * IDS


def test_spark_s_rows_go_to_disk_and_give_the_same_model(spark):
    df = table(spark, *blobs(2000)).cache()
    torch.manual_seed(3)
    usual = {"model": nn.Linear(4, 3), "batchSize": 64, "epochs": 2, "numWorkers": 2, "verbose": 0}
    in_memory = StokerClassifier(**usual).fit(df).history.info
    spilled = StokerClassifier(**usual, storeMemory="10k").fit(df).history.info
    assert spilled["digest"] == in_memory["digest"]
    assert in_memory["disk"] == {} and spilled["disk"]["rows"] == 2000 * (4 * 4 + 8) < spilled["disk"]["taken"]


@pytest.mark.parametrize("value", ["2 gigs", "", "-1", 0, 1.5, True, "0m"])
def test_sizes_that_are_none(value):
    with pytest.raises(
        UserError, match=r"storeMemory (is .*; give bytes, or a size such as '512m'|must be at least 1)"
    ):
        FitSettings.of(StokerClassifier(model=nn.Linear(4, 3), storeMemory=value).value)


def test_sizes_are_written_as_spark_writes_them():
    sizes = {1000: 1000, "1000": 1000, "3k": 3072, "512m": 512 << 20, "2g": 2 << 30, "2GB": 2 << 30, " 1t ": 1 << 40}
    assert {value: memory.parse_size(value, "x") for value in sizes} == sizes


def test_the_default_is_a_share_of_what_the_container_has():
    assert memory.share(8 << 30, 2, None, None) == 2 << 30
    assert memory.share(8 << 30, 2, 1 << 30, None) == 256 << 20  # spark.executor.memoryOverhead
    assert memory.share(8 << 30, 2, None, 1 << 30) == 512 << 20  # spark.executor.pyspark.memory
    assert memory.share(1 << 20, 2, None, None) == memory.LEAST

    def asked(**settings):
        return memory.asked(None, 3, {key.replace("_", "."): value for key, value in settings.items()}.get)

    assert asked(spark_master="local[2]")["neighbours"] == 2
    assert asked(spark_master="spark://x:7077", spark_executor_cores="8")["neighbours"] == 3
    yarn = {"spark_master": "yarn", "spark_executor_cores": "1", "spark_executor_memoryOverhead": "1024"}
    assert (asked(**yarn)["overhead"], asked(**yarn)["neighbours"]) == (1 << 30, 1)
    assert asked(**yarn, spark_executor_pyspark_memory="2g")["overhead"] is None
    assert asked(spark_master="local", spark_io_encryption_enabled="true")["encrypt"]


@pytest.mark.parametrize(
    ("placement", "cure"),
    [
        (Placement(2, 3), "many rows are equal: give a column that tells them apart as idCol"),
        (Placement(2, 3, "hash", "user"), "idCol='user' has values that many rows share: choose another one"),
        (Placement(3, 3, "partition"), "repartition the DataFrame evenly$"),
    ],
)
def test_skewed_shards_are_told_with_the_cure(placement, cure):
    text = "the largest shard has 1,600 rows, 1.6 times the mean of 1,000, and the others wait for it in each step: "
    with pytest.warns(UserWarning, match=text + cure):
        warn_of_skew([1600, 700, 700], placement)


def test_even_or_few_rows_need_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rows in ([1500, 700, 800], [9, 1, 1], [0, 0], [5]):
            warn_of_skew(rows, Placement(2, len(rows)))


def test_the_history_shows_the_skew():
    history = History([{"epoch": 1, "loss": 0.5}], {"shard_rows": [1600, 700, 700]})
    assert history.skew == 1.6
    assert repr(history).endswith("\nlargest shard / mean: 1.60")
    assert "shard" not in repr(History([{"epoch": 1, "loss": 0.5}], {"shard_rows": [7]}))
