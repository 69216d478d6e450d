"""What all tests share: one thread, no network, and the real material beside the project where there is any."""

import itertools
import os
import random
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch

torch.set_num_threads(1)

# Whole sweeps run beside other tests: Ray's own default would let those go first.
os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - its own spelling

SHARED = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that workers end together."""
    items.sort(key=lambda item: "slow" not in item.keywords)


def _beside(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"real material shared/{name} is not beside this checkout")
    return folder


@pytest.fixture
def minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute passes whenever training looks at the clock: a checkpoint is due at every report."""
    monkeypatch.setattr("dlfa.training.monotonic", itertools.count(step=60).__next__)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real treebanks."""
    return _beside("data")


@pytest.fixture(scope="session")
def shared_encoder() -> Path:
    """A real 12-layer multilingual encoder."""
    return _beside("models/me5-small-pruned")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add how many moments a driver is killed at."""
    parser.addoption("--moments", type=int, default=1, help="moments of a sweep's life at which its driver is killed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Draw the moments, each in its own part of the life: 0 is its beginning, 1 its end."""
    if "moment" in metafunc.fixturenames:
        count, chance = metafunc.config.getoption("--moments"), random.Random(5)
        metafunc.parametrize("moment", [(part + chance.random()) / count for part in range(count)])
