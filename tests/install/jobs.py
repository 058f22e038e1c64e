"""Rows and jobs for examples/airflow/stoker_dag.py, in the folder that is named: what its user has already."""

import shutil
import sys
from pathlib import Path

from pyspark.sql import SparkSession

JOBS = {
    "networks.py": "from torch import nn\n\n\ndef build():\n    return nn.Linear(2, 2)\n",
    "fit.yaml": "estimator: StokerClassifier\nmodel: networks:build\noutput: model\noverwrite: true\ndata: rows\n"
                "params: {epochs: 4, learningRate: 0.05, numWorkers: 2, verbose: 0, evalMetrics: [accuracy],\n"
                "         validationFraction: 0.2}\n",
    "transform.yaml": "model: model\ndata: rows\noutput: {path: scored, mode: overwrite}\n",
    "evaluate.yaml": "model: model\ndata: rows\nmetrics: [accuracy]\n",
    "wrong.yaml": "estimator: StokerClassifier\nmodel: networks:bild\noutput: model\ndata: rows\n",
}  # fmt: skip


def main() -> None:
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in JOBS.items():
        (folder / name).write_text(text)
    spark = SparkSession.builder.master("local[2]").config("spark.ui.enabled", False).getOrCreate()
    rows = spark.range(2000).selectExpr("array(sin(id), cos(id)) AS features", "int(sin(id) > 0) AS label")
    rows.write.parquet(str(folder / "rows"))
    spark.stop()


if __name__ == "__main__":
    main()
