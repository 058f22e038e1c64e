"""Stoker trains deep-learning models on Spark DataFrames.

Nothing heavy is imported here: Spark's Python workers import this package too.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "StokerClassifier": "stoker.ml.estimators",
    "StokerRegressor": "stoker.ml.estimators",
    "StokerEstimator": "stoker.ml.estimators",
    "StokerClassificationModel": "stoker.ml.models",
    "StokerRegressionModel": "stoker.ml.models",
    "StokerModel": "stoker.ml.models",
    "StokerFeaturizer": "stoker.ml.featurizer",
    "StokerOnnxModel": "stoker.ml.onnx",
    "function": "stoker.ml.functions",
    "StokerTextClassifier": "stoker.ml.texts",
    "StokerTextRegressor": "stoker.ml.texts",
    "StokerTextClassificationModel": "stoker.ml.texts",
    "StokerTextRegressionModel": "stoker.ml.texts",
    "register_function": "stoker.ml.functions",
    "replace_head": "stoker.ml.transfer",
    "from_onnx": "stoker.frontend.onnx.build",
    "doctor": "stoker.health.doctor",
    "Callback": "stoker.callback",
    "LocalSGD": "stoker.strategy",
    "DiLoCo": "stoker.strategy",
    "OwnStrategy": "stoker.strategy",
    "PowerSGD": "stoker.strategy",
    "TopK": "stoker.strategy",
    "Threshold": "stoker.strategy",
    "Downpour": "stoker.strategy",
    "AGN": "stoker.strategy",
    "DynSGD": "stoker.strategy",
    "DistanceADAG": "stoker.strategy",
    "AEASGD": "stoker.strategy",
    "EAMSGD": "stoker.strategy",
    "Hogwild": "stoker.strategy",
    "SSP": "stoker.strategy",
    "History": "stoker.history",
    "RangeTest": "stoker.ml.range_test",
    "StokerError": "stoker.errors",
    "UserError": "stoker.errors",
    "CompileError": "stoker.errors",
    "WorldError": "stoker.errors",
    "AbortedError": "stoker.errors",
    "BugError": "stoker.errors",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "register":
        raise AttributeError("stoker.register is called stoker.register_function now")
    if name not in _HOMES:
        raise AttributeError(f"module 'stoker' has no attribute '{name}'")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pyspark":
            raise
        raise ModuleNotFoundError(
            "Stoker needs PySpark 4, which this Python has not: on a cluster use the Python that has it, elsewhere "
            "install stoker[spark]",
            name="pyspark",
        ) from error


def __dir__() -> list[str]:
    return sorted(__all__)
