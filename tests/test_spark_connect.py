"""The whole way over Spark Connect, in a process of its own: a Python has one kind of session."""

import socket
import subprocess
import sys

SCRIPT = """
import numpy as np, torch
from pyspark.ml import Pipeline, PipelineModel
from pyspark.sql import SparkSession
from pyspark.sql.connect.client.core import DefaultChannelBuilder
from conftest import blobs, table
import stoker
from stoker import StokerClassificationModel, StokerClassifier, UserError
from stoker.frontend.torch import compile as compile_program
from stoker.inputs import Category, Numeric
from stoker.program import TensorSpec

port = int(sys.argv[2])  # PySpark connects to 15002 else, whoever listens there
DefaultChannelBuilder.default_port = staticmethod(lambda: port)
builder = SparkSession.builder.remote("local[2]").config("spark.connect.grpc.binding.port", port)
spark = builder.getOrCreate()
df = table(spark, *blobs(300))
torch.manual_seed(0)
estimator = StokerClassifier(model=torch.nn.Linear(4, 3), learningRate=0.05, batchSize=32, epochs=2, numWorkers=2,
                             verbose=0)
model = estimator.fit(df)
assert model.history[1]["accuracy"] > 0.9, model.history
path = sys.argv[1]
model.save(path + "/m")
try:
    model.save(path + "/m")
    raise SystemExit("saved twice")
except UserError as error:
    assert "exists already" in str(error)
rows = StokerClassificationModel.load(path + "/m").transform(df).collect()
assert np.mean([r.prediction == r.label for r in rows]) > 0.9
df.createOrReplaceTempView("blobs")
stoker.register_function(spark, "score", model)
rows = spark.sql("SELECT label, score(features) AS prediction FROM blobs").collect()
assert np.mean([r.prediction == r.label for r in rows]) > 0.9
wide = torch.nn.Sequential(torch.nn.Linear(4, 600), torch.nn.Linear(600, 600), torch.nn.Linear(600, 3))
specs = [TensorSpec("features", "float32", (4,))], [TensorSpec("label", "int64", ())]
large = StokerClassificationModel(compile_program(wide, torch.nn.CrossEntropyLoss(), *specs), output_kind="logits")
assert type(large._scorer(spark).weights).__name__ == "Shipped"
stoker.register_function(spark, "score", large)
rows = large.transform(df).selectExpr("prediction", "score(features) AS again").collect()
assert len(rows) == 300 and all(r.prediction == r.again for r in rows)
Pipeline(stages=[estimator]).fit(df).write().overwrite().save(path + "/p")
assert len(PipelineModel.load(path + "/p").transform(df).collect()) == 300
words = df.selectExpr("concat('w', label) as word", "if(label = 0, null, label) as holed", "label")
declared = [Category("word"), Numeric("holed", standardize=True, nulls="mask")]
declared = estimator.copy({estimator.inputs: {"input": declared}, estimator.model: torch.nn.Linear(3, 3)}).fit(words)
assert declared.getInputs()["input"][0].size == 4, declared.getInputs()
assert len(declared.transform(words).collect()) == 300
try:
    estimator.copy({estimator.numWorkers: 3}).fit(df)
    raise SystemExit("three workers on two slots")
except UserError as error:
    assert "can run 2 at most" in str(error)
print("all is well")
spark.stop()
"""


def test_fit_transform_save_and_load_over_connect(tmp_path):
    script = "import sys\n" + SCRIPT
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-c", script, str(tmp_path), str(port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert "all is well" in done.stdout, done.stderr[-3000:]
