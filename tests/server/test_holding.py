"""One umbel at a time is at work in a run's folder, as who starts a second one sees it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import umbel as package
from umbel.server.holding import LOCK
from umbel.server.record import RunFolder

ROUNDS = ("--set", "experiment.rounds=2000")


@pytest.fixture
def started(umbel, tmp_path):
    """Starts umbel's commands as processes, and waits until a run has finished a round."""
    processes = []

    def start(*arguments, run="run"):
        command = [sys.executable, "-m", "umbel", *arguments]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        processes.append(process)
        metrics, end = tmp_path / run / "metrics.jsonl", time.monotonic() + 120
        while not metrics.exists() or not metrics.read_bytes():
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.02)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def refused(outcome, words="another umbel is at work there"):
    code, out, err = outcome
    assert code == 2 and out == "" and words in err, err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_goes_on_is_not_resumed_until_its_process_has_ended(
    umbel, started, tmp_path, workers
):
    several = ("--set", f"simulation.workers={workers}")
    process = started("simulate", "exp.toml", "--out", "run", *ROUNDS, *several)
    refused(umbel("resume", "run"))
    refused(umbel("simulate", "exp.toml", "--out", "run"), "holds a run already")
    assert process.poll() is None, "it goes on"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "run" / LOCK).exists(), "a file that is left behind holds nobody up"
    os.truncate(tmp_path / "run" / "metrics.jsonl", 0)
    text = (tmp_path / "run" / "experiment.toml").read_text()
    (tmp_path / "run" / "experiment.toml").write_text(text.replace("rounds = 2000", "rounds = 1"))
    end = time.monotonic() + 120
    while "another umbel is at work there" in (outcome := umbel("resume", "run", "--json"))[2]:
        # Its workers are still at work on what they were at, and hold the folder so long.
        assert workers > 1 and time.monotonic() < end
    code, out, err = outcome
    assert code == 0 and json.loads(out)["status"] == "finished", err
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_second_comparison_in_the_same_folder(umbel, started, tmp_path):
    grid = ("compare", "exp.toml", "--strategy", "fedavg", "--strategy", "median", "--out", "grid")
    started(*grid, *ROUNDS, run="grid/fedavg/seed-0")
    refused(umbel(*grid, *ROUNDS))
    refused(umbel("resume", "grid/fedavg/seed-0"))


def test_runs_of_the_same_second_have_a_folder_each(umbel, tmp_path):
    experiment = package.load(tmp_path / "exp.toml")
    with RunFolder.held(experiment, "simulate") as one, RunFolder.held(experiment, "up") as other:
        assert one.path != other.path and one.run != other.run
