"""Shared fixtures: one thread, exact models on every process, and the trajectory that order tests follow."""

import pytest
import torch

from scorebench.reference_models.addresses import load_model
from scorebench.reference_models.model import Model
from scorebench.reference_models.process import PROCESSES


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=sorted(PROCESSES))
def process_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def gaussian(process_name: str) -> Model:
    return load_model(f"exact:gaussian?process={process_name}")


@pytest.fixture
def mixture(process_name: str) -> Model:
    return load_model(f"exact:gmm?process={process_name}")
