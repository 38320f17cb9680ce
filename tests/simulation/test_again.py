"""Simulating again and again in one process."""

from __future__ import annotations

import gc
import weakref

import umbel
from umbel.experiment import Experiment
from umbel.simulation import engine


def test_what_a_simulation_held_is_free_when_it_ends(tmp_path, monkeypatch):
    """Without waiting for a collection of cycles: two runs' data would be there at once."""
    seen = []

    def noted(experiment, dataset):
        shards = make(experiment, dataset)
        seen.append(weakref.ref(shards))
        return shards

    make = engine.make_shards
    monkeypatch.setattr(engine, "make_shards", noted)
    experiment = Experiment(experiment={"rounds": 1}, data={"clients": 2}, client={"steps": 1})
    gc.collect()
    gc.disable()
    try:
        umbel.simulate(experiment, out=tmp_path / "run")
        assert [reference() for reference in seen] == [None]
    finally:
        gc.enable()
