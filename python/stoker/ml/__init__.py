"""Estimators and models of pyspark.ml."""

from stoker.ml.estimators import StokerClassifier, StokerEstimator, StokerRegressor
from stoker.ml.models import StokerClassificationModel, StokerModel, StokerRegressionModel

__all__ = [
    "StokerClassificationModel",
    "StokerClassifier",
    "StokerEstimator",
    "StokerModel",
    "StokerRegressionModel",
    "StokerRegressor",
]
