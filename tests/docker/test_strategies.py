"""What clients learn in containers, under other strategies than the examples name, has the bits of a
simulation."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

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
# A backbone takes a quarter of the time for images of half the side; the example as it is has a
# test of its own.
QUICK = {"transfer": ["model.size=32"]}


@pytest.fixture(scope="module")
def made(image) -> Iterator:
    """A federation, and a folder in the checkout, which its containers see."""
    folder = ROOT / "runs" / "docker-strategies"
    folder.mkdir(parents=True, exist_ok=True)
    with federation(image) as made:
        yield made, folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("example", CASES)
def test_strategies_over_a_paradigm_have_the_bits_of_a_simulation(made, tmp_path, example):
    """One after another, by the same clients: the data are divided once."""
    containers, folder = made
    for place, changes in enumerate(CASES[example]):
        changes = [*changes, *QUICK.get(example, []), "experiment.rounds=2"]
        told = umbel.load(ROOT / "examples" / f"{example}.toml", changes)
        path = folder / f"{example}-{told.strategy.name}.toml"
        path.write_text(told.to_toml())
        file = str(path.relative_to(ROOT))
        if place == 0:
            containers.up(experiment=file)
            containers.ended()
        else:
            containers.play(path)
        assert containers.failures() == [], file
        assert containers.sha256() == simulated(file, 3, tmp_path / told.strategy.name), file
