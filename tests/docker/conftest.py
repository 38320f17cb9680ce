from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from compose import COMPOSE, ROOT, build_image, docker, federation, simulated  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session", autouse=True)
def _compose() -> None:
    try:
        subprocess.run([*COMPOSE, "version"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("neither docker-compose nor docker compose is installed")


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The image of this checkout, with MNIST in it, built by docker-compose.yml."""
    name = f"umbel-test-{os.getpid()}"
    build_image(ROOT, name)
    yield name
    # Without its parents, which the next build takes for its cache.
    docker("rmi", "--no-prune", name, code=None)


@pytest.fixture(scope="session")
def plain(image: str) -> Iterator:
    """A federation that the tests share; its first run was that of `docker-compose up`."""
    with federation(image) as made:
        made.up()
        made.ended()
        yield made


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of what tests/docker/quick.toml makes of three clients in simulation."""
    return simulated("tests/docker/quick.toml", 3, tmp_path_factory.mktemp("quick") / "run")


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same of tests/docker/long.toml, with nobody disturbed."""
    return simulated("tests/docker/long.toml", 3, tmp_path_factory.mktemp("long") / "run")
