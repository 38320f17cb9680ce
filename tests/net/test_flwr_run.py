"""`flwr run .` in the checkout: Flower's own command plays the demo experiment."""

import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import umbel

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "examples" / "digits.toml"

pytestmark = [
    pytest.mark.net,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed"
    ),
]


@pytest.fixture
def flower(tmp_path):
    """Flower's environment in a folder of its own; ends the SuperLink that `flwr run` leaves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(tmp_path / "flower"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"FLWR_HOME={tmp_path / 'flower'}\0".encode() in (folder / "environ").read_bytes():
                os.kill(int(folder.name), signal.SIGKILL)


def test_flwr_run_plays_the_demo(flower, tmp_path):
    app = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["flwr"]["app"]
    assert ROOT / app["config"]["experiment"] == DEMO
    out, patient = tmp_path / "run", tmp_path / "patient.toml"
    # Ray takes more than a minute to start on a machine that is busy with other tests.
    patient.write_text(umbel.load(DEMO, ["server.wait=240"]).to_toml())
    command = [str(Path(sys.executable).with_name("flwr")), "run", str(ROOT), "--stream"]
    command += ["--run-config", f'out="{out}" experiment="{patient}"']
    command += ["--federation-config", "num-supernodes=3"]
    ended = subprocess.run(command, env=flower, capture_output=True, text=True, timeout=400)
    assert (out / "model.safetensors").exists(), ended.stdout[-3000:] + ended.stderr[-3000:]
    last = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["round"] == 10 and last["metrics"]["federated"]["accuracy"] > 0.9
    assert len(last["clients"]) == 3
