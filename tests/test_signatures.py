"""What help(), a notebook and a type checker are told of the public classes is so."""

import doctest
import inspect
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from pyspark.ml.classification import ClassificationModel, ProbabilisticClassifier
from pyspark.ml.regression import RegressionModel, Regressor

import stoker
import stoker.inputs
from stoker import StokerClassifier, StokerEstimator, StokerRegressor

ROOT = Path(__file__).parent.parent
ESTIMATORS = [StokerClassifier, StokerRegressor, StokerEstimator]
EXAMPLES = [name for name in stoker.__all__ if name.startswith("Stoker") and not name.endswith("Error")]


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_the_signature_has_the_true_defaults(cls):
    instance = cls()
    told = inspect.signature(cls).parameters
    assert list(told)[:2] == ["model", "loss"]
    assert set(told) == {param.name for param in instance.params}
    for name, parameter in told.items():
        assert parameter.default == (instance.getOrDefault(name) if instance.hasDefault(name) else None), name
    assert told["batchSize"].annotation == "int" and told["idCol"].annotation == "str | None"


@pytest.mark.parametrize("cls", ESTIMATORS)
def test_the_docstring_lists_every_parameter_with_its_default(cls):
    for name in inspect.signature(cls).parameters:
        assert f"\n    {name}: {getattr(cls, name).doc.rstrip('.')}" in cls.__doc__
        assert getattr(cls, f"set{name[0].upper()}{name[1:]}").__doc__
    assert "rows of one step over all workers (default: 256)" in cls.__doc__


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_every_public_class_runs(name, spark, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_example(getattr(stoker, name), name)


def run_example(cls, name):
    (found,) = [test for test in doctest.DocTestFinder(recurse=False).find(cls, name) if test.examples]
    failures = []
    doctest.DocTestRunner(verbose=False).run(found, out=failures.append)
    assert not failures, "".join(failures)


@pytest.mark.parametrize("name", stoker.inputs.__all__)
def test_what_is_public_of_inputs_says_what_it_is_by_an_example(name):
    public = getattr(stoker.inputs, name)
    assert public.__doc__
    if isinstance(public, type) and name != "Declared":
        run_example(public, name)


def test_they_are_spark_s_own_kinds_of_estimators_and_models():
    assert issubclass(StokerClassifier, ProbabilisticClassifier) and issubclass(StokerRegressor, Regressor)
    models = import_module("stoker.ml.models")
    assert issubclass(models.StokerClassificationModel, ClassificationModel)
    assert issubclass(models.StokerRegressionModel, RegressionModel)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("pass", ""),
        ("StokerClassifier(batchsize=3)", 'Unexpected keyword argument "batchsize"'),
        ('estimator.setEpochs("3")', 'incompatible type "str"; expected "int | None"'),
        ("from stoker import StokerClasifier", 'has no attribute "StokerClasifier"'),
        ("Numeric(3)", 'expected "str"'),
    ],
)
def test_a_type_checker_knows_what_users_write(line, told, tmp_path):
    user = tmp_path / "user.py"
    user.write_text((ROOT / "tests/typed_user.py").read_text() + line + "\n")
    command = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", user]
    there = {**os.environ, "MYPYPATH": str(ROOT / "python")}
    found = subprocess.run(command, cwd=ROOT, env=there, capture_output=True, text=True, check=False)
    if told:
        assert found.returncode == 1 and told in found.stdout, found.stdout
    else:
        assert found.returncode == 0, found.stdout + found.stderr
