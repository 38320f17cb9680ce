"""Runs that are kept in folders, so that a benchmark goes on where it was interrupted."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import umbel
from umbel.experiment import Experiment
from umbel.rounds import evaluation


def kept_run(told: Experiment, folder: Path) -> umbel.Result:
    """A run, or what is in its folder, which goes on where it was interrupted; ends the program
    where that is a run of another experiment."""
    if not folder.exists():
        return umbel.simulate(told, out=folder)
    if Experiment(**tomllib.loads((folder / "experiment.toml").read_text("utf-8"))) != told:
        sys.exit(f"{folder}: holds a run with other settings; remove it, or give another --out")
    result = umbel.Result.open(folder)
    return result if result.status == "finished" else umbel.simulate(told, resume=folder)


def kept_accuracy(told: Experiment, folder: Path) -> float:
    """On the server's test set after the last round; of a run that is there, what it found."""
    result = kept_run(told, folder)
    return float(evaluation(result.records[-1], "central", "accuracy") or 0.0)
