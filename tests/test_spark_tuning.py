"""Inside pyspark.ml's pipelines and validators."""

import pytest
import torch
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.evaluation import MulticlassClassificationEvaluator
from pyspark.ml.feature import StandardScaler, StringIndexer, VectorAssembler
from pyspark.ml.tuning import CrossValidator, CrossValidatorModel, ParamGridBuilder, TrainValidationSplit
from pyspark.sql import functions as F
from torch import nn

from conftest import blobs, table
from stoker import StokerClassifier


@pytest.fixture(scope="module")
def accuracy(spark):
    return MulticlassClassificationEvaluator(metricName="accuracy")


@pytest.fixture(scope="module")
def df(spark):
    return table(spark, *blobs(300)).cache()


@pytest.fixture
def estimator():
    torch.manual_seed(0)
    return StokerClassifier(model=nn.Linear(4, 3), batchSize=32, epochs=2, numWorkers=2, verbose=0)


def test_texts_are_indexed_and_columns_assembled_before_us(df, estimator, accuracy, tmp_path):
    raw = df.select(*[F.col("features")[i].alias(f"f{i}") for i in range(4)],
                    F.element_at(F.array(F.lit("cat"), F.lit("dog"), F.lit("owl")), F.col("label").cast("int") + 1)
                    .alias("animal"))  # fmt: skip
    stages = [
        StringIndexer(inputCol="animal", outputCol="label"),
        VectorAssembler(inputCols=[f"f{i}" for i in range(4)], outputCol="raw"),
        StandardScaler(inputCol="raw", outputCol="features", withMean=True),
        estimator.setLearningRate(0.05),
    ]
    fitted = Pipeline(stages=stages).fit(raw)
    assert accuracy.evaluate(fitted.transform(raw)) > 0.9
    fitted.save(str(tmp_path / "p"))
    loaded = PipelineModel.load(str(tmp_path / "p"))
    assert loaded.transform(raw).select("prediction").collect() == fitted.transform(raw).select("prediction").collect()


def test_a_cross_validator_with_two_fits_at_once_shares_the_slots(df, estimator, accuracy, tmp_path):
    """Each fit needs both slots of local[2], so two at once must queue; the folds share nothing."""
    before = {name: value.clone() for name, value in estimator.getModel().state_dict().items()}
    grid = ParamGridBuilder().addGrid(estimator.learningRate, [1e-6, 0.05]).build()
    chosen = CrossValidator(estimator=estimator, estimatorParamMaps=grid, evaluator=accuracy, numFolds=2, parallelism=2,
                            seed=1).fit(df)  # fmt: skip
    assert chosen.avgMetrics[1] > 0.9 > chosen.avgMetrics[0]
    assert all(torch.equal(before[name], value) for name, value in estimator.getModel().state_dict().items())
    chosen.save(str(tmp_path / "cv"))
    loaded = CrossValidatorModel.load(str(tmp_path / "cv"))
    assert accuracy.evaluate(loaded.transform(df)) == accuracy.evaluate(chosen.transform(df))


def test_a_train_validation_split_chooses_by_batch_size_and_optimizer(df, estimator, accuracy):
    estimator.setLearningRate(0.05)
    builder = ParamGridBuilder().addGrid(estimator.batchSize, [32, 64])
    grid = builder.addGrid(estimator.optimizer, ["sgd", "adam"]).build()
    chosen = TrainValidationSplit(estimator=estimator, estimatorParamMaps=grid, evaluator=accuracy, seed=1).fit(df)
    assert len(chosen.validationMetrics) == 4 and max(chosen.validationMetrics) > 0.9
