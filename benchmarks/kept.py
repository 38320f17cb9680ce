"""Runs that are kept in folders, so that a benchmark goes on where it was interrupted."""

from __future__ import annotations

from pathlib import Path

import umbel
from umbel.experiment import Experiment
from umbel.rounds import evaluation


def kept_accuracy(told: Experiment, folder: Path) -> float:
    """On the server's test set after the last round; of a run that is there, what it found."""
    if not folder.exists():
        result = umbel.simulate(told, out=folder)
    else:
        result = umbel.Result.open(folder)
        if result.status != "finished":
            result = umbel.simulate(told, resume=folder)
    return float(evaluation(result.records[-1], "central", "accuracy") or 0.0)
