"""What clients learn in containers, under other strategies than the examples name, has the bits of a
simulation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from compose import ROOT, federation, simulated

import umbel

ADAPTIVE = ["strategy.name=fedadam"]
PROXIMAL = ["strategy.name=fedprox", "strategy.mu=0.1"]
MEDIAN = ["strategy.name=median"]
# Control variates are for one learning rate.
CONTROLLED = ["strategy.name=scaffold", 'client.optimizer={name="sgd", lr=0.1}']
PERSONAL = ["strategy.name=fedper"]
NORMALISED = ["strategy.name=fedbn"]
CASES = {
    "transfer": [ADAPTIVE, PROXIMAL, NORMALISED, MEDIAN],
    "few-labels": [ADAPTIVE, PROXIMAL, CONTROLLED, MEDIAN],
    "graph": [ADAPTIVE, PROXIMAL, CONTROLLED, PERSONAL, MEDIAN],
}


@pytest.fixture(scope="module")
def made(image) -> Iterator:
    """A federation, and a folder in the checkout, which its containers see."""
    folder = ROOT / "runs" / "docker-strategies"
    folder.mkdir(parents=True, exist_ok=True)
    with federation(image) as made:
        yield made, folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("example", "changes"),
    [(example, changes) for example, cases in CASES.items() for changes in cases],
    ids=lambda found: found if isinstance(found, str) else found[0].removeprefix("strategy.name="),
)
def test_a_strategy_over_a_paradigm_has_the_bits_of_a_simulation(made, tmp_path, example, changes):
    containers, folder = made
    told = umbel.load(ROOT / "examples" / f"{example}.toml", [*changes, "experiment.rounds=2"])
    file = Path(folder / f"{example}-{told.strategy.name}.toml").relative_to(ROOT)
    (ROOT / file).write_text(told.to_toml())
    containers.up(experiment=str(file))
    containers.ended()
    assert containers.failures() == []
    assert containers.sha256() == simulated(str(file), 3, tmp_path / "run")
