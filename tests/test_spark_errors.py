"""Wrong input gets a clear answer, and a fit that ends badly ends quickly and leaves nothing behind."""

import os
import signal
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch
from pyspark.sql import functions as F
from torch import nn

from conftest import blobs, table
from stoker import StokerClassifier, StokerError, StokerRegressor, UserError, WorldError
from stoker.errors import CompileError
from stoker.events import Admitted, Metrics

SOON = 8.0  # seconds: 2 s is what is promised, the rest is for busy machines


def classifier(**params):
    return StokerClassifier(**{"model": nn.Linear(4, 3), "batchSize": 32, "numWorkers": 2, "verbose": 0, **params})


@pytest.fixture(scope="module")
def df(spark):
    return table(spark, *blobs(200)).cache()


def jobs(spark):
    return len(spark.sparkContext.statusTracker().getJobIdsForGroup(None))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"featuresCol": "pixels"}, r"featuresCol: the DataFrame has no column 'pixels'. It has: features, label$"),
        ({"featuresCols": ["features", "x"]}, "featuresCols: the DataFrame has no column 'x'"),
        ({"labelCol": "y"}, "labelCol: the DataFrame has no column 'y'"),
        (
            {"labelCol": "features"},
            "labelCol: column 'features' has type array<float>; it must be a numeric type of",
        ),
        ({"weightCol": "w"}, "weightCol: the DataFrame has no column 'w'"),
        ({"idCol": "key"}, "idCol: the DataFrame has no column 'key'"),
        ({"predictionCol": "label"}, "predictionCol='label': the DataFrame has a column of this name already"),
        ({"numWorkers": 3}, "numWorkers=3 needs 3 tasks at the same time, but this Spark session can run 2 at most"),
        ({"inputShape": [5]}, "the model does not run on rows of shape features: .5.: "),
        ({"optimizer": "sophia"}, "optimizer: unknown name 'sophia', expected one of 'sgd', 'adam', 'adamw'"),
    ],
)
def test_what_can_be_known_before_a_job_is_told_before_a_job(spark, df, params, message):
    before = jobs(spark)
    with pytest.raises(UserError, match=message):
        classifier(**params).fit(df)
    assert jobs(spark) == before


class Branch(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        out = self.layer(x)
        return out if out.sum() > 0 else -out


def test_a_model_that_cannot_be_compiled_is_told_with_the_user_s_line(df):
    with pytest.raises(CompileError, match=r"branches on the values of a tensor at .*test_spark_errors.py:\d+"):
        classifier(model=Branch()).fit(df)


def test_outputs_that_do_not_fit_the_labels_are_told(df):
    rows = df.select("features", F.array(F.lit(1.0), F.lit(2.0), F.lit(3.0)).alias("label"))
    with pytest.raises((CompileError, UserError), match="label"):
        StokerRegressor(model=nn.Linear(4, 2), verbose=0).fit(rows)
    with pytest.raises(CompileError, match=r"MSELoss needs one label value for each output value"):
        StokerRegressor(model=nn.Linear(4, 2), verbose=0).fit(df)


BAD_ROWS = [  # column, value in SQL, what the message must have
    ("label", "3", r"label.*3"),
    ("label", "-1", r"label.*-1"),
    ("label", "1.5D", r"label.*1\.5"),
    ("label", "cast(null as int)", r"label.*null"),
    ("label", "double('nan')", r"label.*(?i:nan)"),
    ("features", "cast(null as array<float>)", r"features.*null"),
    ("features", "array(1, null, 1, 1)", r"features.*null"),
    ("features", "array(1)", r"features"),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD_ROWS)
def test_a_bad_row_is_named_by_column_partition_and_row(df, name, value, message):
    bad = df.withColumn("n", F.monotonically_increasing_id())
    bad = bad.withColumn(name, F.when(F.col("n") == 5, F.expr(value)).otherwise(F.col(name)))
    with pytest.raises(UserError, match=message) as told:
        classifier().fit(bad)
    assert "partition" in str(told.value) and "row" in str(told.value)


def test_negative_weights_are_refused(df):
    with pytest.raises(UserError, match="w"):
        classifier(weightCol="w").fit(df.withColumn("w", F.lit(-1.0)))


def test_no_rows_are_told(df):
    with pytest.raises(UserError, match="the DataFrame has no rows"):
        classifier().fit(df.where("label > 99"))


def test_partitions_that_are_not_as_many_as_workers_are_told(df):
    with pytest.raises(UserError, match="more partitions than numWorkers"):
        classifier(assign="partition").fit(df.repartition(3))
    with pytest.raises(StokerError, match=r"must have numWorkers \(2\) partitions"):
        classifier(assign="partition", startTimeout=1.0).fit(df.coalesce(1))


def test_a_loss_that_is_not_finite_ends_the_fit(df):
    torch.manual_seed(1)  # with some weights the first step overflows, before a loss does
    with pytest.raises(UserError, match=r"(?i)loss.*(nan|inf|finite)"):
        classifier(optimizer="sgd", learningRate=1e38, epochs=3).fit(df)


# --- the ends of fits -------------------------------------------------------------------------------------------------


class Watched:
    """Stands in for the progress bar: knows what happened, and acts at the first metrics."""

    def __init__(self, act):
        self.pids, self.act, self.acted_at = [], act, None

    def event(self, event):
        if isinstance(event, Admitted):
            self.pids.append(event.pid)
        if isinstance(event, Metrics) and self.acted_at is None:
            self.acted_at = time.monotonic()
            self.act(self)

    def close(self):
        pass


def endless(df, monkeypatch, act, error, match=None):
    """Runs a fit that would take for ever and is not started again, lets `act` end it, and returns the seconds until it
    raised."""
    watched = Watched(act)
    monkeypatch.setattr("stoker.fit.run.make_progress", lambda *_: watched)
    with pytest.raises(error, match=match) as told:
        classifier(epochs=1_000_000, maxRestarts=0).fit(df)
    return time.monotonic() - watched.acted_at, str(told.value), watched


def gone(pid):
    return not Path(f"/proc/{pid}").exists()


def test_a_killed_worker_ends_the_fit_by_name(df, monkeypatch):
    def kill(watched):
        os.kill(watched.pids[0], signal.SIGKILL)

    took, text, watched = endless(df, monkeypatch, kill, WorldError)
    assert took < SOON
    assert f"pid {watched.pids[0]}" in text and "worker" in text and "step" in text


def test_ctrl_c_ends_the_fit(df, monkeypatch):
    took, *_ = endless(df, monkeypatch, lambda _: signal.raise_signal(signal.SIGINT), KeyboardInterrupt)
    assert took < SOON
    assert len(classifier(epochs=1).fit(df).history) == 1


def test_a_cancelled_job_ends_the_fit(spark, df, monkeypatch):
    took, *_ = endless(df, monkeypatch, lambda _: spark.interruptAll(), StokerError)
    assert took < 2 * SOON  # Spark kills the Python workers 2 to 3 s after it cancels their job


def test_nothing_of_a_fit_stays_on_the_driver(df, monkeypatch):
    classifier(epochs=1).fit(df)
    before = driver_things()
    classifier(epochs=1).fit(df)
    endless(df, monkeypatch, lambda w: os.kill(w.pids[0], signal.SIGKILL), WorldError)
    deadline = time.monotonic() + 5
    while (now := driver_things()) != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert now == before


def driver_things():
    """Names of native threads and of Python's, and the number of sockets that listen."""
    native = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    ours = sorted(name for name in native if "stoker" in name)
    python = sorted(thread.name for thread in threading.enumerate() if "stoker" in thread.name)
    return ours, python, len(list(Path("/proc/self/fd").iterdir()))


def test_notes_on_statistics_are_given_as_warnings(df):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classifier(model=model).fit(df)
    assert any("statistics are per micro-batch" in str(warning.message) for warning in caught)
