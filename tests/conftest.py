"""What every test gets: one torch thread, a clean environment, reasons for what is skipped, and
the command line as a fixture."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

CHROMIUM = Path("/usr/bin/chromium")
CONTAINERS = "tests/docker/"
GROUPS = (f"{CONTAINERS}test_faults.py", CONTAINERS)
OWN_PREFIXES = ("FLWR_", "UMBEL_")

DIGITS = """
[experiment]
name = "digits"
rounds = 2
[data]
source = "digits"
clients = 3
[model]
name = "mlp"
hidden = [8]
"""

torch.set_num_threads(1)

# Python reads it when it starts: so do the processes that tests start, and here it is late.
SHIM = Path(__file__).parent / "shim"
runpy.run_path(str(SHIM / "sitecustomize.py"))
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(SHIM), *filter(None, [os.environ.get("PYTHONPATH")])]
)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on how the user has set Flower or umbel up."""
    for name in list(os.environ):
        if name.startswith(OWN_PREFIXES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    monkeypatch.setenv("FLWR_DISABLE_UPDATE_CHECK", "1")


@pytest.fixture
def umbel(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command in an empty folder; gives (exit code, standard output, standard error)."""
    from umbel import cli

    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp.toml").write_text(DIGITS)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["umbel", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With `--dist loadgroup`, the container tests on two workers of pytest-xdist, those that kill
    on one of them: each group shares a federation. Its own groups (3.8.0) are not seen by pytest
    9.2."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ContainersTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((group for group in GROUPS if nodeid.startswith(group)), nodeid)

    return ContainersTogether(config, log)


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
