"""Pictures through Spark: a small network learns shapes from files of all formats, and what broken files come to."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from PIL import ImageDraw
from pyspark.sql import functions as F
from torch import nn

from stoker import StokerClassificationModel, StokerClassifier
from stoker.errors import UserError
from stoker.inputs import Image

FORMATS = ("PNG", "JPEG", "WEBP")


def drawing(i):
    """A bright disc (label 1) or bar (label 0) anywhere on a dark ground."""
    draw = np.random.default_rng(i)
    picture = Pillow.new("RGB", tuple(draw.integers(40, 70, 2)), tuple(int(c) for c in draw.integers(0, 90, 3)))
    x, y = (int(draw.integers(4, side - 22)) for side in picture.size)
    colour = tuple(int(c) for c in draw.integers(150, 256, 3))
    pen = ImageDraw.Draw(picture)
    pen.ellipse((x, y, x + 18, y + 18), colour) if i % 2 else pen.rectangle((x, y + 7, x + 18, y + 10), colour)
    return picture


def row(i):
    file = io.BytesIO()
    drawing(i).save(file, FORMATS[i % 3])
    return i, bytearray(file.getvalue()), i % 2


@pytest.fixture(scope="module")
def df(spark):
    return spark.createDataFrame([row(i) for i in range(300)], "id long, file binary, label int").repartition(3).cache()


INPUT = Image("file", (28, 28), crop=(24, 24), flip=True, mean=0.5, std=0.25)


def estimator(item=INPUT, **more):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1),
        nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip
    more = {"epochs": 12, "batchSize": 30, "learningRate": 0.01, "seed": 5, "verbose": 0, **more}
    return StokerClassifier(model=net, inputs={"input": item}, labelCol="label", **more)


@pytest.fixture(scope="module")
def model(df):
    return estimator(numWorkers=2).fit(df)


def test_a_network_learns_from_files_and_is_saved_and_loaded(df, model, tmp_path):
    wanted = model.transform(df).select("id", "label", "prediction", "probability").orderBy("id").collect()
    assert sum(row.label == row.prediction for row in wanted) > 285
    model.write().save(str(tmp_path / "model"))
    loaded = StokerClassificationModel.load(str(tmp_path / "model"))
    assert loaded.getInputs() == model.getInputs()
    again = loaded.transform(df).select("id", "label", "prediction", "probability").orderBy("id").collect()
    assert again == wanted


def weights_of(df, item=INPUT, **more):
    return estimator(item, epochs=2, **more).fit(df)._compiled.weights


def differ(one, other):
    return any((one[name] != other[name]).any() for name in one)


def test_crops_and_flips_are_the_same_bits_for_one_worker_and_two(df):
    two = weights_of(df, numWorkers=2)
    one = weights_of(df.repartition(5, "id"), numWorkers=1, numShards=2)
    assert not differ(one, two)
    assert differ(two, weights_of(df, numWorkers=2, seed=6))
    still = Image("file", (28, 28), crop=(24, 24), mean=0.5, std=0.25)
    assert differ(two, weights_of(df, still, numWorkers=2))


def test_spark_s_own_image_reader_gives_the_same_pictures(spark, df, model, tmp_path):
    rows = df.where("id % 3 = 0").orderBy("id").limit(20).collect()  # PNG: Java's JPEG reader rounds otherwise
    for row in rows:
        (tmp_path / f"{row.id:03}.png").write_bytes(row.file)
    read = spark.read.format("image").load(str(tmp_path)).withColumn("name", F.col("image.origin"))
    wanted = model.transform(df.where(F.col("id").isin([row.id for row in rows]))).orderBy("id")
    by_struct = model.copy().setInputs({"input": Image("image", (28, 28), crop=(24, 24), mean=0.5, std=0.25)})
    got = by_struct.transform(read).orderBy("name")
    for a, b in zip(got.select("probability").collect(), wanted.select("probability").collect()):
        assert a == b


def broken(df):
    """One file among them is cut short, one is none."""
    file = F.when(F.col("id") == 7, F.expr("substring(file, 1, 300)")).when(F.col("id") == 8, F.lit(b"?"))
    return df.withColumn("file", file.otherwise(F.col("file")))


def test_broken_pictures_end_the_fit_or_are_counted(df):
    with pytest.raises(UserError, match=r"column 'file', partition \d, row \d+: is .*; onBadRow='skip' leaves such"):
        estimator(numWorkers=2).fit(broken(df))
    with pytest.warns(UserWarning, match="rows were left out .*: column 'file' is a broken image: 1, column 'file' is"):
        model = estimator(numWorkers=2, onBadRow="skip", epochs=1).fit(broken(df))
    assert model.history.skipped == {
        "column 'file' is a broken image": 1,
        "column 'file' is no image that can be read": 1,
    }
    assert model.history[0]["rows"] == 298


def test_transform_names_the_picture_that_it_cannot_read(df, model):
    rows = broken(df).coalesce(1).where("id >= 8").repartition(1).sortWithinPartitions("id")
    with pytest.raises(Exception, match=r"column 'file', partition 0, row 0: is no JPEG, PNG or WebP \(1 bytes"):
        model.transform(rows).collect()


def test_other_columns_are_refused_before_any_job(df):
    with pytest.raises(UserError, match=r"Image\('id'\): the column has type bigint; expected binary \(JPEG, PNG"):
        estimator(Image("id", (4, 4))).fit(df)
