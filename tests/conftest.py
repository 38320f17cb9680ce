"""What every test gets: one torch thread, a clean environment, and reasons for what is skipped."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

CHROMIUM = Path("/usr/bin/chromium")
OWN_PREFIXES = ("FLWR_", "UMBEL_")

torch.set_num_threads(1)

# torchvision's wheel from a plain index does not match a CPU-only torch: its compiled operators
# do not load, and its import then fails on these two names. No test calls them.
for operator in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, operator):
        torch.library.define(f"torchvision::{operator}", "(Tensor a, Tensor b, float c) -> Tensor")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on how the user has set Flower or umbel up."""
    for name in list(os.environ):
        if name.startswith(OWN_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    monkeypatch.setenv("FLWR_DISABLE_UPDATE_CHECK", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, with the reason."""
    for marker, missing in (("docker", _without_docker), ("browser", _without_browser)):
        marked = [item for item in items if item.get_closest_marker(marker)]
        reason = missing() if marked else ""
        for item in marked if reason else []:
            item.add_marker(pytest.mark.skip(reason=reason))


def _without_docker() -> str:
    """Why no container engine can be used, or an empty string."""
    docker = shutil.which("docker")
    if docker is None:
        return "no container engine: docker is not installed"
    try:
        done = subprocess.run([docker, "info"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no container engine: docker info: {type(error).__name__}"
    return "" if done.returncode == 0 else "no container engine answers docker info"


def _without_browser() -> str:
    """Why no browser can be used, or an empty string."""
    return "" if CHROMIUM.exists() else f"no browser: {CHROMIUM} is not installed"
