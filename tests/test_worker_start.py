"""What a Spark task loads before it is admitted: each death costs it once more."""

import subprocess
import sys

HEAVY = ("torch", "pandas", "pyspark.ml", "pyarrow.compute", "pyarrow.parquet", "scipy", "keras")
LOADS = f"""
import sys
import pyspark.daemon, pyspark.worker, pyarrow
before = set(sys.modules)
import stoker.spark.task, stoker.spark.infer, stoker.spark.function
print(sorted(name for name in set(sys.modules) - before if name in {HEAVY!r}))
"""


def test_a_task_loads_nothing_heavy_that_spark_has_not_loaded():
    done = subprocess.run([sys.executable, "-c", LOADS], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


FILES = """
import sys
from stoker.spark.ingest import get_ready
get_ready({"scan": {}})
before = set(sys.modules)
from stoker.spark import parquet
print(sorted(set(sys.modules) - before))
"""


def test_what_reads_files_is_loaded_before_libtorch_which_keeps_other_libraries_waiting():
    done = subprocess.run([sys.executable, "-c", FILES], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
