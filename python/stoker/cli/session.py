"""The Spark session of a command: that of spark-submit, or one by its own options."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

from stoker.errors import UserError


def add_options(to: argparse.ArgumentParser) -> None:
    to.add_argument("--master", help="of Spark, such as local[4] or spark://host:7077; spark-submit says it itself")
    to.add_argument("--remote", help="a Spark Connect server, such as sc://host:15002")
    to.add_argument("--conf", action="append", default=[], metavar="KEY=VALUE", help="a setting of Spark")


@contextmanager
def opened(asked: argparse.Namespace, name: str) -> Iterator[SparkSession]:
    """One that the command makes ends with it."""
    there = SparkSession.getActiveSession() is not None
    spark = session_of(asked, name)
    try:
        yield spark
    finally:
        if not there:
            spark.stop()


def session_of(asked: argparse.Namespace, name: str) -> SparkSession:
    builder = SparkSession.builder.appName(name)
    if asked.master:
        builder = builder.master(asked.master)
    if asked.remote:
        builder = builder.remote(asked.remote)
    for setting in asked.conf:
        key, equals, value = setting.partition("=")
        if not equals:
            raise UserError(f"--conf {setting}: it must be KEY=VALUE")
        builder = builder.config(key, value)
    return builder.getOrCreate()
