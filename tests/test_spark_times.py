"""Times in all zones: as Spark reads them, or refused with column and value."""

import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import torch

import stoker
from reading import refused, same
from stoker.errors import UserError
from stoker.inputs import DateParts
from stoker.spark import clock

PARTS = ("year", "month", "day", "hour", "minute", "second")
ZONES = ["UTC", "Asia/Kathmandu", "America/New_York", "Europe/Amsterdam", "Africa/Monrovia", "Africa/Casablanca",
         "+05:45", "GMT+5", "UTC+01:00", "UTC-3", "Z", "EST", "CST6CDT", "Australia/Lord_Howe"]  # fmt: skip
MOMENTS = ["1969-12-31 23:59:59.999999", "2024-02-29 12:00:00", "0001-01-03 00:00:00", "9999-12-29 23:59:59",
           "1582-10-04 01:02:03", "1582-10-15 01:02:03", "1883-11-18 16:59:59", "1883-11-18 17:00:00",
           "1900-01-01 00:00:00", "1937-06-30 23:40:28", "1972-01-07 00:44:29", "1972-01-07 00:44:30",
           "2024-03-10 06:59:59.999999", "2024-03-10 07:00:00", "2024-11-03 06:30:00", "2038-01-20 00:00:00",
           "2087-05-04 12:00:00", "2100-07-01 05:06:07", "2499-12-31 23:00:00", "2500-07-01 12:00:00",
           "7777-07-07 07:07:07"]  # fmt: skip


@pytest.fixture
def in_zone(spark):
    kept = spark.conf.get("spark.sql.session.timeZone")
    yield lambda zone: spark.conf.set("spark.sql.session.timeZone", zone)
    spark.conf.set("spark.sql.session.timeZone", kept)


@pytest.mark.parametrize("zone", ZONES)
def test_times_are_read_as_spark_reads_them(spark, in_zone, zone):
    in_zone(zone)
    texts = spark.createDataFrame([(text + "Z",) for text in MOMENTS], "s string").repartition(1)
    df = texts.selectExpr("s", "cast(s as timestamp) as t")
    model = same(len(PARTS), inputs={"features": [DateParts("t", PARTS, zone=zone)]})
    stoker.register_function(spark, "parts", model)
    wanted = ", ".join(f"cast({part}(t) as double)" for part in PARTS[:-1]) + ", floor(cast(second(t) as double))"
    out = model.transform(df).selectExpr("s", "o", "parts(t) as f", f"array({wanted}) as w")
    for row in out.collect():
        assert list(row.o.toArray()) == list(row.w) == list(row.f), row.s


def test_a_clock_is_that_of_its_zone(spark):
    for zone in ("Europe/Berlin", "America/St_Johns"):
        found = clock.of_zone(spark, zone)
        instants = np.random.default_rng(0).integers(0, 4_000_000_000, 500)
        local = found.local(instants * 1_000_000) // 1_000_000
        right = [
            int(datetime.datetime.fromtimestamp(int(at), ZoneInfo(zone)).utcoffset().total_seconds()) for at in instants
        ]
        np.testing.assert_array_equal(local - instants, right)


@pytest.mark.parametrize("value", ["timestamp_micros(9223372036854775807)", "timestamp_micros(-9223372036854775808)",
                                   "timestamp'10000-01-02 00:00:00Z'", "timestamp'0000-06-01 00:00:00Z'"])  # fmt: skip
def test_times_that_no_calendar_has_are_named(spark, value):
    df = spark.range(1).selectExpr(f"{value} as t")
    model = same(1, inputs={"features": [DateParts("t", ["year"], zone="America/New_York")]})
    stoker.register_function(spark, "years", model)
    for action in (lambda: model.transform(df).select("o").collect(), lambda: df.selectExpr("years(t)").collect()):
        told = refused(action)
        assert "column 't'" in told and ("is before year 1" in told or "is after year 9999" in told)


@pytest.mark.parametrize("value", ["date'0000-12-31'", "date'-0044-03-15'", "date_add(date'9999-12-31', 1)"])
def test_dates_of_year_nought_are_named(spark, value):
    df = spark.range(4).selectExpr(f"{value} as d", "1.0D as label")
    with pytest.raises(UserError, match=r"column 'd'.* is (before year 1|after year 9999), expected a date between"):
        fit_dates(df)


def fit_dates(df):
    inputs = {"x": [DateParts("d", ["year"], zone="UTC")]}
    stoker.StokerRegressor(model=torch.nn.Linear(1, 1), inputs=inputs, batchSize=4, verbose=0).fit(df)
