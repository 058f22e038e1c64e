"""Every trainable layer class of torch.nn, in one small case each."""

import pytest
import torch

from conformance import harness, layers

SHARE = 0.95


def test_every_class_with_parameters_is_in_the_table():
    assert layers.unlisted() == []


def test_nearly_all_layers_compile_and_equal_pytorch(capsys):
    runners = [harness.PythonRunner]
    try:
        harness.engine()
        runners.append(harness.EngineRunner)
    except ImportError:
        pass
    reasons = {kind.__name__: reason for kind in layers.TABLE if (reason := _reason(kind, runners))}
    total = len(layers.TABLE)
    with capsys.disabled():
        print(f"\nlayers of torch.nn that compile and equal PyTorch: {total - len(reasons)} of {total}")
        for name, reason in reasons.items():
            print(f"  not {name}: {reason}")
    assert total - len(reasons) >= SHARE * total
    assert not [reason for reason in reasons.values() if "operators.txt" in reason]


def _reason(kind: type, runners: list[type]) -> str:
    """Why a class does not pass; empty where it does."""
    torch.manual_seed(0)
    try:
        case = layers.case_of(kind)
        compiled = case.compile()
        for runner in runners:
            harness.check(case, runner, compiled)
    except (ValueError, RuntimeError, AssertionError) as error:
        return str(error).splitlines()[0]
    return ""


@pytest.mark.parametrize("kind", [torch.nn.Linear, torch.nn.BatchNorm1d])
def test_the_comparison_sees_a_wrong_program(kind):
    """A program with one number changed must not pass."""
    case = layers.case_of(kind)
    compiled = case.compile()
    name = compiled.train["parameters"][0]["name"]
    compiled.weights[name] = compiled.weights[name] * 1.0001
    with pytest.raises(AssertionError, match="differs by"):
        harness.check(case, harness.PythonRunner, compiled)
