import pytest
import torch

from conformance import harness


@pytest.fixture(autouse=True)
def seeded(one_thread):
    torch.manual_seed(0)


@pytest.fixture(params=["python", "engine"])
def runner(request):
    if request.param == "python":
        return harness.PythonRunner
    try:
        harness.engine()
    except ImportError as error:
        pytest.skip(f"the engine is not built: {error}")
    return harness.EngineRunner
