"""Predicts which flights arrive more than 15 minutes late, from what is known before departure; against Spark's trees.

Run:    python examples/flights.py    (after `make build`; the data come by pip, see flights_data.py)
Holds:  the area under the ROC curve on the held-out fifth of the flights is above that of GBTClassifier(maxIter=100,
        maxDepth=6) with the same columns, and the model that was saved and loaded predicts the same from raw rows.

Strings, nulls and times go in as they are: `inputs` declares what each column is.
"""

import tempfile
import time
from pathlib import Path

import matplotlib as mpl
import torch
from pyspark.ml import Pipeline
from pyspark.ml.classification import GBTClassifier
from pyspark.ml.evaluation import BinaryClassificationEvaluator
from pyspark.ml.feature import StringIndexer, VectorAssembler
from pyspark.ml.functions import vector_to_array
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from torch import nn

import flights_data
from stoker import StokerClassificationModel, StokerClassifier
from stoker.inputs import Category, DateParts, Numeric, learn, sizes, width

PLOT = Path("flights.png")

# All of it is known before departure: the schedule, the plane, and the weather of the hour of departure.
STRINGS = ["carrier", "origin", "dest", "manufacturer", "model", "engine"]
NUMBERS = ["distance", "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
           "plane_year", "seats"]  # fmt: skip
CLOCK = ["sched_dep", "sched_arr"]  # minutes of the day
DATE = "date"

INPUTS = {
    "numbers": [Numeric.each(*NUMBERS, standardize=True, nulls="mask"), Numeric.each(*CLOCK, standardize=True),
                DateParts(DATE, ["yearday", "weekday"], cyclic=True)],
    "codes": [Category.each(*STRINGS, minCount=20, nulls="fill"), Category("hour"),
              DateParts(DATE, ["yearday", "weekday"])],
}  # fmt: skip


class Network(nn.Module):
    """Embeddings of the codes beside the numbers, then three layers."""

    def __init__(self, sizes: list[int], numbers: int, width: int = 16) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, width) for size in sizes)
        self.layers = nn.Sequential(
            nn.Linear(numbers + width * len(sizes), 256), nn.ReLU(), nn.Dropout(0.2),
            nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 1),
        )  # fmt: skip

    def forward(self, numbers: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        looked_up = [table(codes[:, i]) for i, table in enumerate(self.tables)]
        return self.layers(torch.cat([numbers, *looked_up], dim=1))


def flights(spark: SparkSession) -> DataFrame:
    """One row a flight that arrived, with its weather and its plane."""
    flown, weather, planes = flights_data.dataframes(spark)
    minutes = {name: F.expr(f"{name}_time div 100 * 60 + {name}_time % 100") for name in CLOCK}
    flown = flown.where("arr_delay is not null").withColumns(minutes)
    weather = weather.drop("year", "month", "day", "hour")
    planes = planes.select("tailnum", F.col("year").alias("plane_year"), "manufacturer", "model", "engine", "seats")
    joined = flown.join(weather, ["origin", "time_hour"], "left").join(planes, "tailnum", "left")
    late = (F.col("arr_delay") > 15).cast("int").alias("late")
    date = F.make_date("year", "month", "day").alias(DATE)
    return joined.select(*STRINGS, *NUMBERS, *CLOCK, "hour", date, late)


def split(rows: DataFrame) -> tuple[DataFrame, DataFrame]:
    """Four fifths to learn from and one to judge by; which a flight is in depends on the flight alone."""
    fifth = F.pmod(F.xxhash64(*rows.columns), F.lit(5))
    return rows.where(fifth != 0).cache(), rows.where(fifth == 0).cache()


def train(rows: DataFrame) -> StokerClassificationModel:
    inputs = timed("learning vocabularies and means", lambda: learn(rows, INPUTS))  # their sizes shape the network
    model = Network(sizes(inputs["codes"]), width(inputs["numbers"]))
    return StokerClassifier(
        model=model, inputs=inputs, labelCol="late", optimizer="adamw", learningRate=2e-3, batchSize=1024, epochs=8,
        numWorkers=2, seed=1,
    ).fit(rows)  # fmt: skip


def train_trees(rows: DataFrame):
    """The same columns, as trees want them: indices, days as numbers, and a value outside the range for nulls."""
    indices = [f"{name}_index" for name in STRINGS]
    features = [*indices, *NUMBERS, *CLOCK, "hour", "yearday", "weekday"]
    stages = [StringIndexer(inputCols=STRINGS, outputCols=indices, handleInvalid="keep"),
              VectorAssembler(inputCols=features, outputCol="features"),
              GBTClassifier(labelCol="late", maxIter=100, maxDepth=6, maxBins=400, seed=1)]  # fmt: skip
    return Pipeline(stages=stages).fit(for_trees(rows))


def for_trees(rows: DataFrame) -> DataFrame:
    days = {"yearday": F.dayofyear(DATE), "weekday": F.weekday(DATE)}
    return rows.withColumns(days).fillna(-999, NUMBERS).fillna("", STRINGS)


def timed(what: str, run):
    start = time.perf_counter()
    result = run()
    print(f"{what}: {time.perf_counter() - start:.1f} s", flush=True)
    return result


def check_reload(model: StokerClassificationModel, raw: DataFrame) -> None:
    some = raw.limit(1000).cache()
    with tempfile.TemporaryDirectory() as folder:
        model.write().overwrite().save(f"{folder}/model")
        loaded = StokerClassificationModel.load(f"{folder}/model")
        if model.transform(some).collect() != loaded.transform(some).collect():
            raise SystemExit("the reloaded model predicts something else")
    print("saved, reloaded: the same predictions from raw rows")


def plot(scored: dict[str, DataFrame], areas: dict[str, float]) -> None:
    """Both ROC curves."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    for name, rows in scored.items():
        score = vector_to_array("probability")[1].alias("score")
        table = rows.select(score, "late").orderBy(F.desc("score")).toPandas()
        late = table["late"].to_numpy()
        plt.plot((1 - late).cumsum() / (1 - late).sum(), late.cumsum() / late.sum(), label=f"{name}: {areas[name]:.4f}")
    plt.xlabel("flights in time that are called late")
    plt.ylabel("late flights that are called late")
    plt.legend(title="area under the curve")
    plt.savefig(PLOT, dpi=120)
    print(f"plot: {PLOT}")


def main() -> None:
    torch.manual_seed(1)  # the initial weights; with the fit's own seed everything repeats
    builder = SparkSession.builder.master("local[2]").appName("flights").config("spark.ui.enabled", False)
    spark = builder.config("spark.ui.showConsoleProgress", False).config("spark.driver.memory", "4g").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    learning, judging = split(flights(spark))
    timed("joins", lambda: print(f"{learning.count():,} flights to learn from, {judging.count():,} to judge by"))
    model = timed("Stoker, whole fit with that", lambda: train(learning))
    print(model.history)
    print("seconds by phase:", ", ".join(f"{name} {took:.1f}" for name, took in model.history.phases.items()))
    trees = timed("GBTClassifier(maxIter=100, maxDepth=6), whole fit", lambda: train_trees(learning))
    scored = {"Stoker": model.transform(judging), "GBTClassifier": trees.transform(for_trees(judging))}
    evaluator = BinaryClassificationEvaluator(labelCol="late", metricName="areaUnderROC")
    areas = {name: timed(f"{name} scored", lambda rows=rows: evaluator.evaluate(rows)) for name, rows in scored.items()}
    print(", ".join(f"AUC of {name} {area:.4f}" for name, area in areas.items()))
    check_reload(model, judging)
    plot(scored, areas)
    spark.stop()
    if areas["Stoker"] <= areas["GBTClassifier"]:
        raise SystemExit("the trees are better")


if __name__ == "__main__":
    main()
