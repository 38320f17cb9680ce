"""Graph neural networks over the network give what they give in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from lab import Lab

import umbel
from umbel.experiment import load
from umbel.server.remote import run

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A SuperLink with warm nodes that stay, each with a part of a graph of 90 nodes."""
    folder = tmp_path_factory.mktemp("network")
    generator = np.random.default_rng(0)
    block = np.arange(90) // 30
    near = np.triu(generator.random((90, 90)) < np.where(block[:, None] == block, 0.15, 0.01), 1)
    x = generator.normal(size=(90, 6)).astype(np.float32)
    np.savez(folder / "graph.npz", x=x, y=np.arange(90) % 3, edges=np.argwhere(near))
    lab = Lab(folder)
    path = lab.experiment(
        data={"source": str(folder / "graph.npz"), "clients": 3, "partition": "louvain"},
        model={"name": "gcn", "hidden": 8},
        paradigm="nodes",
        client={"steps": 4, "batch_size": 8},
    )
    yield lab.federation(path, clients=3), path
    lab.close()


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        ("fedavg", ["paradigm.neighbours=[4, 2]"]),
        ("fedadam", ["model.name=gat", "model.hidden=2"]),
        ("fedprox", ["model.name=graphsage"]),
        ("scaffold", ["model.name=message-passing"]),
        ("fedper", ["model.name=gin"]),
        ("median", ["paradigm.name=links"]),
    ],
)
def test_same_bits_as_in_simulation(network, tmp_path, strategy, settings):
    address, path = network
    experiment = load(path, [f"strategy.name={strategy}", *settings])
    there = run(experiment, address, out=tmp_path / "there")
    here = umbel.simulate(experiment, out=tmp_path / "here")
    assert there.status == "finished" and there.sha256 == here.sha256
    assert [r["metrics"] for r in there.records] == [r["metrics"] for r in here.records]
    assert [row["status"] for row in there.records[-1]["clients"]] == ["ok"] * 3
