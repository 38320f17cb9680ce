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


def test_same_bits_as_in_simulation_and_the_log_names_what_left(tmp_path):
    lab = Lab(tmp_path)
    generator = np.random.default_rng(0)
    edges = np.unique(np.sort(generator.integers(0, 60, (200, 2)), axis=1), axis=0)
    x = generator.normal(size=(60, 5)).astype(np.float32)
    np.savez(tmp_path / "graph.npz", x=x, y=np.arange(60) % 3, edges=edges)
    path = lab.experiment(
        data={"source": str(tmp_path / "graph.npz"), "clients": 2, "held_out": 0.2},
        model={"name": "gcn", "hidden": 4},
        paradigm={"name": "fedgcn"},
        strategy="fedadam",
        client={"steps": 3, "batch_size": 0},
    )
    try:
        lab.shards(path)
        address, _ = lab.server()
        for name in ("client-0", "client-1"):
            lab.client(address, name)
        there = run(load(path), address, out=tmp_path / "there")
    finally:
        lab.close()
    here = umbel.simulate(load(path), out=tmp_path / "here")
    assert there.status == "finished" and there.sha256 == here.sha256
    assert [r["metrics"] for r in there.records] == [r["metrics"] for r in here.records]
    told = json.loads((tmp_path / "there" / "environment.json").read_text())["boundary"]
    assert min(told.values()) > 60 * 6 * 4
    for name in ("client-0", "client-1"):
        text = (tmp_path / "states" / name / "departures.jsonl").read_text()
        left = {line["kind"]: line for line in map(json.loads, text.splitlines())}
        named = [f"boundary/{part}" for part in ("asks", "keys", "own", "sums")]
        assert left["query.offer"]["tensors"] == named
        assert left["query.offer"]["bytes"] > 60 * 6 * 4 / 2
        assert left["query.tell"]["tensors"] == []
