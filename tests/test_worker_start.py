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
