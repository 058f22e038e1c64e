import pytest
import torch

from conformance import harness


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["python", "engine"])
def runner(request):
    if request.param == "python":
        return harness.PythonRunner
    try:
        harness.engine()
    except ImportError as error:
        pytest.skip(f"the engine is not built: {error}")
    return harness.EngineRunner
