#!/usr/bin/env python3
"""Writes the stubs of python/stoker: what parameters give the public classes, and what the lazy packages hold. With
--check nothing is written, and the exit code says whether all is as it would be. With --engine those of the compiled
modules instead, which the build makes, for git has none of them.
"""

import argparse
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import stoker
import stoker.inputs
from stoker.ml import estimators, featurizer, models, onnx, texts
from stoker.ml.params import annotation_of, params_of

PACKAGE = Path(stoker.__file__).parent
MADE = "# Made by scripts/stubs.py.\n"
ESTIMATORS = {"ClassifierAccessors": estimators.StokerClassifier, "RegressorAccessors": estimators.StokerRegressor,
              "EstimatorAccessors": estimators.StokerEstimator,
              "FeaturizerAccessors": featurizer.StokerFeaturizer,
              "OnnxAccessors": onnx.StokerOnnxModel,
              "TextClassifierAccessors": texts.StokerTextClassifier,
              "TextRegressorAccessors": texts.StokerTextRegressor}  # fmt: skip
MODELS = {"ClassificationModelAccessors": models.StokerClassificationModel,
          "RegressionModelAccessors": models.StokerRegressionModel, "ModelAccessors": models.StokerModel,
          "TextClassificationModelAccessors": texts.StokerTextClassificationModel,
          "TextRegressionModelAccessors": texts.StokerTextRegressionModel}  # fmt: skip


def accessors() -> str:
    lines = [MADE + "from collections.abc import Sequence", "from typing import Any", "",
             "from typing_extensions import Self"]  # fmt: skip
    for name, cls in {**ESTIMATORS, **MODELS}.items():
        lines += ["", f"class {name}:"]
        if name in ESTIMATORS:
            lines += ["    def __init__(", "        self,", "        *,", *keywords(cls), "    ) -> None: ..."]
        lines += methods(cls)
    return "\n".join(lines) + "\n"


def keywords(cls: type) -> Iterator[str]:
    for name, parameter in inspect.signature(cls).parameters.items():
        kind = parameter.annotation if parameter.annotation in ("Any",) else or_none(parameter.annotation)
        yield f"        {name}: {kind} = {shown(parameter.default)},"


def or_none(kind: str) -> str:
    """None has a parameter's default back."""
    return kind if kind.endswith("None") else f"{kind} | None"


def shown(default: Any) -> str:
    return repr(default).replace("'", '"') if isinstance(default, (str, int, float, bool, type(None))) else "..."


def methods(cls: type) -> Iterator[str]:
    """Those that Spark's own classes do not have."""
    for name in params_of(cls):
        title, kind = name[0].upper() + name[1:], annotation_of(name, {})
        if not of_spark(cls, f"set{title}"):
            yield f"    def set{title}(self, value: {kind}) -> Self: ..."
        if not of_spark(cls, f"get{title}"):
            yield f"    def get{title}(self) -> {annotation_of(name, {name: ''})}: ..."


def of_spark(cls: type, method: str) -> bool:
    return any(method in vars(kind) for kind in cls.__mro__ if kind.__module__.startswith("pyspark"))


def package(homes: dict[str, str]) -> str:
    """Of a package whose names are loaded when they are wanted."""
    by_home: dict[str, list[str]] = {}
    for name, home in homes.items():
        by_home.setdefault(home, []).append(name)
    lines = [f"from {home} import {name} as {name}" for home in sorted(by_home)
             for name in sorted(by_home[home], key=lambda name: (not name.isupper(), name))]  # fmt: skip
    return MADE + "\n".join(lines) + "\n"


def stubs() -> dict[str, str]:
    inputs = {name: f"stoker.inputs.{home}" for name, home in stoker.inputs._HOMES.items()}
    return {
        "ml/accessors.pyi": accessors(),
        "__init__.pyi": package(stoker._HOMES) + "\n__version__: str\n",
        "inputs/__init__.pyi": package(inputs),
    }


def engine_stubs() -> dict[str, str]:
    from nanobind.stubgen import StubGen

    from stoker import engine

    found = {}
    for module in (engine.core(), engine.load_torch()):
        made = StubGen(module)
        made.put(module)
        found[f"{module.__name__.rpartition('.')[2]}.pyi"] = MADE + made.get()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--engine", action="store_true")
    told = parser.parse_args()
    other = [name for name, text in stubs().items() if not (PACKAGE / name).exists()
             or (PACKAGE / name).read_text() != text]  # fmt: skip
    if told.check:
        print("\n".join(f"python/stoker/{name} is not as scripts/stubs.py makes it" for name in other) or "stubs hold")
        return 1 if other else 0
    for name, text in (engine_stubs() if told.engine else stubs()).items():
        (PACKAGE / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
