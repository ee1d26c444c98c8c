"""Other people's metrics, to hold ours against."""

import importlib

import pytest


@pytest.fixture(scope="session")
def peer():
    """peer("pytorch_fid.fid_score"): the module, or the test is skipped with the reason."""

    def module(name):
        package = name.split(".")[0]
        pytest.importorskip("torch", reason=f"{package} is made of torch")
        pytest.importorskip("torchvision", reason=f"{package} imports torchvision")
        pytest.importorskip(package, reason=f"{package} is the oracle: pip install --no-deps it")
        return importlib.import_module(name)

    return module
