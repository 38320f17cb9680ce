"""Clients that tell each other of their graphs' edges, over the network."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lab import Lab

import umbel
from umbel.experiment import load
from umbel.server.remote import run

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")


PARADIGMS = [
    ({"name": "fedgcn"}, "fedadam", 6),
    ({"name": "node-propagation", "exchanges": 4}, "fedavg", 3),
]
"""Each with a strategy that takes it, and how many numbers it tells of a node."""


def test_same_bits_as_in_simulation_and_the_log_names_what_left(tmp_path):
    lab = Lab(tmp_path)
    generator = np.random.default_rng(0)
    edges = np.unique(np.sort(generator.integers(0, 60, (200, 2)), axis=1), axis=0)
    x = generator.normal(size=(60, 5)).astype(np.float32)
    np.savez(tmp_path / "graph.npz", x=x, y=np.arange(60) % 3, edges=edges)
    told, there = {}, {}
    try:
        for paradigm, strategy, _ in PARADIGMS:
            path = lab.experiment(
                data={"source": str(tmp_path / "graph.npz"), "clients": 2, "held_out": 0.2},
                model={"name": "gcn", "hidden": 4},
                paradigm=paradigm,
                strategy=strategy,
                client={"steps": 3, "batch_size": 0},
            )
            told[paradigm["name"]] = load(path)
        lab.shards(path)
        address, _ = lab.server()
        for name in ("client-0", "client-1"):
            lab.client(address, name)
        for paradigm, experiment in told.items():
            there[paradigm] = run(experiment, address, out=tmp_path / paradigm)
    finally:
        lab.close()
    for paradigm, _, width in PARADIGMS:
        name = paradigm["name"]
        here = umbel.simulate(told[name], out=tmp_path / f"{name}-here")
        assert there[name].status == "finished" and there[name].sha256 == here.sha256
        assert [r["metrics"] for r in there[name].records] == [r["metrics"] for r in here.records]
        facts = json.loads((tmp_path / name / "environment.json").read_text())["boundary"]
        assert min(facts["bytes_up"], facts["bytes_down"]) > 60 * width * 4
    for name in ("client-0", "client-1"):
        text = (tmp_path / "states" / name / "departures.jsonl").read_text()
        left = list(map(json.loads, text.splitlines()))
        offers = [line for line in left if line["kind"] == "query.offer"]
        assert len(offers) == 1 + facts["exchanges"] == 5
        named = [f"boundary/{part}" for part in ("asks", "keys", "own", "sums")]
        assert all(line["tensors"] == named for line in offers)
        assert offers[0]["bytes"] > 60 * 6 * 4 / 2 and offers[1]["bytes"] > 60 * 3 * 4 / 2
        assert all(line["tensors"] == [] for line in left if line["kind"] == "query.tell")
