"""Declared inputs through Spark: what is learnt, raw rows at transform, saving, and what wrong data is told."""

import datetime
import decimal
import json

import numpy as np
import pytest
import torch
from pyspark.ml.feature import StringIndexer, VectorAssembler
from pyspark.sql import functions as F
from torch import nn

import stoker
from stoker import StokerClassificationModel, StokerClassifier, StokerRegressor
from stoker.engine import core
from stoker.errors import UserError
from stoker.fit import layout
from stoker.fit.settings import naming_of
from stoker.inputs import Array, Category, DateParts, Hashed, Numeric, Padded, Present, learn, learning, sizes, width
from stoker.spark import columns
from stoker.spark.table import Table


@pytest.fixture(scope="module")
def df(spark):
    """Rows of every type that people have; the label is 1 for the words 'w1' and 'w3'."""
    number = F.col("id")
    return spark.range(0, 600, 1, 3).select(
        "id",
        (number * 0.5).alias("real"),
        F.when(number % 5 != 0, number % 50).alias("holed"),
        F.concat(F.lit("w"), (number % 4).cast("string")).alias("word"),
        (number % 3 == 0).alias("flag"),
        F.date_add(F.lit("2020-01-30").cast("date"), (number % 400).cast("int")).alias("day"),
        F.timestamp_seconds(number * 7201).alias("moment"),
        F.transform(F.sequence(F.lit(1), number % 4 + 1), lambda i: F.concat(F.lit("t"), i)).alias("tokens"),
        F.array(F.array(number, number + 1), F.array(number + 2, number + 3)).alias("grid"),
        (number % 100).cast("decimal(10,2)").alias("price"),
        (number % 2).cast("int").alias("label"),
    ).cache()  # fmt: skip


INPUTS = {
    "numbers": [Numeric.each("real", "price", standardize=True), Numeric("holed", nulls="mask"), "flag",
                DateParts("moment", ["hour"], cyclic=True)],
    "codes": [Category("word"), Hashed("word", 11), DateParts("day", ["month", "weekday"])],
    "tokens": Padded(Category("tokens", minCount=200), 3),
    "grid": Array("grid"),
}  # fmt: skip


class Net(nn.Module):
    def __init__(self, codes, numbers, tokens):
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, 3) for size in codes)
        self.words = nn.Embedding(tokens, 3)
        self.last = nn.Linear(numbers + 3 * len(codes) + 3 + 4, 2)

    def forward(self, numbers, codes, tokens, grid):
        looked_up = [table(codes[:, i]) for i, table in enumerate(self.tables)]
        grid = grid.flatten(1) / 600
        return self.last(torch.cat([numbers, *looked_up, self.words(tokens).mean(1), grid], 1))


def estimator(inputs, **more):
    torch.manual_seed(0)
    net = Net(sizes(inputs["codes"]), width(inputs["numbers"]), inputs["tokens"].of.size)
    more = {"epochs": 6, "batchSize": 50, "learningRate": 0.05, "seed": 1, "verbose": 0, **more}
    return StokerClassifier(model=net, inputs=inputs, labelCol="label", **more)


@pytest.fixture(scope="module")
def model(df):
    return estimator(learn(df, INPUTS), numWorkers=2).fit(df)


def test_vocabularies_statistics_and_shapes_are_learnt(df):
    learnt = learn(df, INPUTS)
    real, price = learnt["numbers"][:2]
    values = np.arange(600) * 0.5
    assert (real.mean, real.scale) == (values.mean(), pytest.approx(values.std(), rel=1e-15))
    assert price.mean == 49.5
    assert learnt["codes"][0].vocabulary == ("w0", "w1", "w2", "w3")
    assert learnt["tokens"].of.vocabulary == ("t1", "t2", "t3")  # t4 occurs 150 times only
    assert learnt["grid"].shape == (2, 2)
    assert learnt["numbers"][3] == Numeric("flag")
    assert sizes(learnt["codes"]) == [5, 11, 13, 7] and width(learnt["numbers"]) == 7


def test_what_is_learnt_does_not_depend_on_how_the_rows_lie(df):
    again = df.repartition(5, "real").sortWithinPartitions(F.desc("holed"))
    assert learn(again, INPUTS) == learn(df, INPUTS)


def test_what_is_given_is_not_learnt(df, monkeypatch):
    def no_pass(*_):
        raise AssertionError("a pass over the rows")

    monkeypatch.setattr(learning, "_count", no_pass)
    monkeypatch.setattr(learning.moments, "of_columns", no_pass)
    given = {"x": [Category("word", ["w3"]), Numeric("real", standardize=True, mean=1.0, scale=2.0)]}
    assert learn(df, given)["x"] == given["x"]


def test_the_most_frequent_come_first_and_rare_ones_are_cut(spark):
    words = spark.createDataFrame([(w,) for w in "bbbaaacdd"] + [(None,)], "w string")
    assert learn(words, {"x": Category("w")})["x"].vocabulary == ("a", "b", "d", "c")
    assert learn(words, {"x": Category("w", minCount=2)})["x"].vocabulary == ("a", "b", "d")
    assert learn(words, {"x": Category("w", maxSize=2)})["x"].vocabulary == ("a", "b")


def test_columns_that_are_only_named_are_declared_by_their_types(df):
    names = ["word", "real", "flag", "day", "moment", "price"]
    kinds = [type(item).__name__ for item in learn(df, {"x": names})["x"]]
    assert kinds == ["Category", "Numeric", "Numeric", "DateParts", "DateParts", "Numeric"]
    assert learn(df, {"x": ["real", "flag"]}) == {"x": ["real", "flag"]}  # plain numbers stay as they are


def test_raw_rows_train_and_a_saved_model_takes_raw_rows(df, model, tmp_path):
    wanted = model.transform(df).select("id", "label", "prediction", "probability").orderBy("id").collect()
    assert sum(row.label == row.prediction for row in wanted) > 550
    model.write().save(str(tmp_path / "model"))
    loaded = StokerClassificationModel.load(str(tmp_path / "model"))
    again = loaded.transform(df).select("id", "label", "prediction", "probability").orderBy("id").collect()
    assert again == wanted
    assert loaded.getInputs() == model.getInputs()


def test_the_same_bits_for_any_number_of_workers_and_any_order(df, model):
    one = estimator(learn(df, INPUTS), numWorkers=1, numShards=2).fit(df.repartition(4))
    for name, weights in model._compiled.weights.items():
        np.testing.assert_array_equal(one._compiled.weights[name], weights, err_msg=name)


def test_transform_sees_what_training_saw(df, model):
    """The tensors of both, byte for byte."""
    rows = Table.of(df)
    sources = layout.features_of_program(naming_of(model), rows, model._compiled.infer["inputs"])
    table = df.select(*[value.alias(name) for name, value in columns.travelling(rows, sources).items()]).toArrow()
    batch = table.combine_chunks().to_batches()[0]
    specs = json.dumps([source.spec() for source in sources])
    store = core().ColumnStore(specs, [0], 0)
    store.append(batch)
    store.seal()
    for i, tensor in enumerate(core().TensorReader(specs, 0).read(batch)):
        np.testing.assert_array_equal(tensor, store.gather(i, np.arange(600, dtype=np.uint32)))


def test_a_saved_estimator_keeps_its_declarations(df, model, tmp_path):
    told = estimator(learn(df, INPUTS), numWorkers=2)
    told.write().save(str(tmp_path / "estimator"))
    loaded = StokerClassifier.load(str(tmp_path / "estimator"))
    assert loaded.getInputs() == told.getInputs()
    again = loaded.fit(df)
    for name, weights in model._compiled.weights.items():
        np.testing.assert_array_equal(again._compiled.weights[name], weights, err_msg=name)


def test_spark_4_0_without_arrow_udfs_predicts_the_same(df, model, monkeypatch):
    wanted = model.transform(df).select("id", "probability").orderBy("id").collect()
    monkeypatch.delattr(F, "arrow_udf")
    assert model.transform(df).select("id", "probability").orderBy("id").collect() == wanted
    broken = df.coalesce(1).withColumn("word", F.when(F.col("id") != 507, F.col("word")))
    with pytest.raises(Exception, match="column 'word', partition 0, row 507: is null"):
        model.transform(broken.repartition(1).sortWithinPartitions("id")).collect()


def test_clocks_are_read_in_the_zone_of_the_fit(spark):
    rows = spark.range(1).select(F.lit("2020-07-01 20:30:00Z").cast("timestamp").alias("t"))
    item = DateParts("t", ["day", "hour", "minute"])
    for zone, want in (("UTC", [1, 20, 30]), ("Asia/Kolkata", [2, 2, 0]), ("America/New_York", [1, 16, 30])):
        spark.conf.set("spark.sql.session.timeZone", zone)
        try:
            learnt = learn(rows, {"x": item})
        finally:
            spark.conf.unset("spark.sql.session.timeZone")
        assert tensor_of(rows, learnt)[0].tolist() == want


def tensor_of(rows, learnt):
    from stoker.inputs import fields

    source = fields.source("x", learnt["x"], Table.of(rows))
    table = rows.select(*[sent.expression(Table.of(rows)).alias(sent.name) for sent in source.sent]).toArrow()
    return core().TensorReader(json.dumps([source.spec()]), 0).read(table.combine_chunks().to_batches()[0])[0]


def test_spark_ml_s_own_stages_before_us_keep_working(df):
    indexed = StringIndexer(inputCol="word", outputCol="index").fit(df).transform(df)
    ready = VectorAssembler(inputCols=["real", "index"], outputCol="vector").transform(indexed)
    learnt = learn(ready, {"x": Array("vector")})
    assert learnt["x"].shape == (2,)
    np.testing.assert_array_equal(tensor_of(ready, learnt)[:4], [[0, 0], [0.5, 1], [1, 2], [1.5, 3]])


def test_skipped_rows_are_counted_in_the_history(df):
    holed = df.select(F.col("real"), F.when(F.col("id") % 5 != 0, F.col("label")).alias("y"), "holed")
    plain = StokerRegressor(model=nn.Linear(2, 1), inputs=[Numeric("real"), Numeric("holed")], labelCol="y",
                            numWorkers=2, verbose=0, learningRate=1e-4)  # fmt: skip
    with pytest.raises(UserError, match=r"column 'holed', partition [01], row .*: is null"):
        plain.fit(holed.where("y is not null or real > 0").withColumn("y", F.lit(1.0)))
    with pytest.warns(UserWarning, match="rows were left out .* is null: 120"):
        model = plain.setOnBadRow("skip").fit(holed)
    assert sum(model.history.skipped.values()) == 120
    assert model.history[0]["rows"] == 480


# --- wrong data -------------------------------------------------------------------------------------------------------


def fit_one(rows, item, **more):
    """Fits a tiny model on one declared column and a label."""
    rows = rows if "y" in rows.columns else rows.withColumn("y", F.lit(1.0))
    net = nn.Linear(2 if isinstance(item, DateParts) else 1, 1)
    return StokerRegressor(
        model=net, inputs={"input": [item]}, inputTypes={"input": "float32"}, labelCol="y", verbose=0, **more
    ).fit(rows)


D = decimal.Decimal


@pytest.mark.parametrize(
    "rows, kind, item, words",
    [
        ([1.0, None], "double", Numeric("c"), r"row 1: is null; nulls='fill' or 'mask' allows that"),
        ([1.0, float("nan")], "double", Numeric("c"), r"row 1: is null"),
        ([1.0, float("inf")], "double", Numeric("c"), r"row 1: is Infinity, expected a finite number"),
        ([1.0, 1e300], "double", Numeric("c"), r"row 1: value 1e\+300 cannot be kept as float32"),
        ([1, 2**24 + 1], "bigint", Numeric("c"), r"row 1: value 16777217 cannot .* loss; lossy=True allows that"),
        ([D(1), D("12345678.91")], "decimal(12,2)", Numeric("c"), r"row 1: value 12345678.91 has more digits than"),
        (["a", None], "string", Category("c"), r"row 1: is null; nulls='fill' or 'mask'"),
        ([[1.0], [1.0, 2.0]], "array<double>", Array("c", [1]), r"row 1: has 2 values, expected 1; Padded"),
        ([[1.0], [None]], "array<double>", Array("c", [1]), r"row 1: is null"),
        ([[1.0], None], "array<double>", Padded(Numeric("c"), 1), r"row 1: is null"),
        (["2020-01-01", "0001-01-01"], "date", DateParts("c", ["month"], cyclic=True), "before year 1"),
    ],
)
def test_a_bad_value_is_named_with_its_place_and_what_allows_it(spark, rows, kind, item, words):
    if kind == "date":
        rows = [datetime.date.fromisoformat(row) for row in rows]
    frame = spark.createDataFrame([(row,) for row in rows], f"c {kind}").coalesce(1)
    if kind == "date":
        frame = frame.withColumn("c", F.when(F.year("c") == 1, F.date_add("c", -400)).otherwise(F.col("c")))
    with pytest.raises(UserError, match=words) as caught:
        fit_one(frame, item, assign="partition")
    assert "column 'c', partition 0, row 1: " in str(caught.value)
    assert "; onBadRow='skip' leaves such rows out" in str(caught.value)


@pytest.mark.parametrize(
    "kind, item, words",
    [
        ("string", Numeric("c"), r"Numeric\('c'\): the column has type string; expected a numeric type"),
        ("double", Category("c"), "has type double; expected a string, a whole number or a boolean"),
        ("int", DateParts("c"), "has type int; expected a date or a timestamp"),
        ("date", DateParts("c", ["hour"]), "dates have no hour"),
        ("int", Padded(Numeric("c"), 3), "has type int; expected an array"),
        ("array<int>", Padded(Category("c", ["a"]), 3), "expected an array of strings, as its vocabulary holds"),
        ("map<string,int>", "c", "declare how it is read"),
        ("binary", Array("c"), "give shape="),
        ("int", Numeric("d"), "no column 'd'. It has: c, y"),
    ],
)
def test_a_column_of_another_type_is_refused_before_any_job(spark, kind, item, words):
    frame = spark.createDataFrame([], f"c {kind}, y double")
    with pytest.raises(UserError, match=words):
        fit_one(frame, item)


def test_a_vocabulary_beyond_its_limit_is_told_with_the_cure(spark, monkeypatch):
    monkeypatch.setattr(learning, "LIMIT", 10)
    many = spark.range(11).select(F.col("id").cast("string").alias("c"))
    with pytest.raises(UserError, match=r"Category\('c'\): .* more than 10 different values.*maxSize.*Hashed"):
        learn(many, {"x": Category("c")})
    assert len(learn(many, {"x": Category("c", maxSize=5)})["x"].vocabulary) == 5


def test_an_embedding_that_is_too_small_is_told_before_any_row_is_read(df):
    small = {**INPUTS, "codes": [Category("word", ["w0", "w1", "w2"]), *INPUTS["codes"][1:]]}
    with pytest.raises(UserError, match=r"index out of range.*stoker.inputs.sizes tells"):
        estimator(learn(df, small)).setInputs(learn(df, INPUTS)).fit(df)


def test_no_rows_to_learn_from(spark):
    none = spark.createDataFrame([], "c double")
    with pytest.raises(UserError, match=r"Numeric\('c'\): the column has no values to learn a mean from"):
        learn(none, {"x": Numeric("c", standardize=True)})


def test_a_sql_function_takes_raw_columns(spark, df, model):
    df.createOrReplaceTempView("raw_rows")
    stoker.register_function(spark, "raw_score", model, output="probability")
    call = "raw_score(real, price, holed, flag, moment, word, day, tokens, grid)"
    got = {row.id: row.got for row in spark.sql(f"SELECT id, {call} AS got FROM raw_rows").collect()}
    assert got == {row.id: list(row.probability) for row in model.transform(df).collect()}


def test_transform_names_a_column_that_is_missing_or_has_become_another(df, model):
    with pytest.raises(UserError, match=r"inputs.*no column 'word'"):
        model.transform(df.drop("word"))
    with pytest.raises(UserError, match=r"Category\('word'\): the column has type bigint; expected strings"):
        model.transform(df.withColumn("word", F.col("id")))


def test_transform_names_the_row_that_it_cannot_read(df, model):
    broken = df.coalesce(1).withColumn("word", F.when(F.col("id") != 7, F.col("word")))
    with pytest.raises(Exception, match="column 'word', partition 0, row 7: is null"):
        model.transform(broken).collect()


def test_unknown_words_and_masks_reach_the_model(spark):
    rows = spark.createDataFrame([("a", 1.0), ("new", None)], "w string, n double")
    learnt = {"x": [Category("w", ["a"]), Numeric("n", nulls="mask", fill=5.0), Present("n")]}
    assert tensor_of(rows, learnt).tolist() == [[1, 1, 1, 1], [0, 5, 0, 0]]
