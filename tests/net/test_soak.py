"""A short soak: random faults every few rounds cost no update and leave nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.mark.slow
def test_random_faults_cost_no_update_and_nothing_grows(tmp_path):
    options = [
        "--rounds",
        "16",
        "--clients",
        "3",
        "--seed",
        "3",
        "--folder",
        str(tmp_path / "soak"),
    ]
    command = [sys.executable, str(SOAK), *options, "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads(ended.stdout.splitlines()[-1])
    assert report["same_model"] and report["failures"] == 0 and report["rounds"] == 16
    assert sum(report["faults"].values()) >= 2
