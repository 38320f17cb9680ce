from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from lab import Lab  # noqa: E402


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.net)


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def simulated(tmp_path_factory):
    """What simulation in one process makes of the experiment of `Lab.experiment`."""
    lab = Lab(tmp_path_factory.mktemp("simulated"))
    return lab.umbel("simulate", lab.experiment(), "--out", "run")[0]["model_sha256"]
