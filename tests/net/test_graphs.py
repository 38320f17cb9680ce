"""Graph neural networks over the network give what they give in simulation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lab import Lab
from safetensors.torch import load_file

import umbel
from umbel.experiment import load
from umbel.result import read_environment
from umbel.server.remote import run

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")


# Two clusters in the second round.
SPLITS = ["after=0", "length=1", "epsilon1=100.0", "epsilon2=1e-9"]
SPLITS = [f"strategy.{setting}" for setting in SPLITS]


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


@pytest.fixture(scope="module")
def network_of_sets(tmp_path_factory):
    """Nodes that each have some of 45 rings and stars."""
    lab = Lab(tmp_path_factory.mktemp("sets"))
    path = lab.experiment(
        data={"source": "their_graphs:shapes?count=45", "clients": 3, "held_out": 0.2},
        model={"name": "gcn", "hidden": 8, "readout": "sum"},
        paradigm="graphs",
        client={"steps": 4, "batch_size": 6},
    )
    yield lab.federation(path, clients=3), path
    lab.close()


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [
        ("fedavg", ["paradigm.neighbours=[4, 2]"]),
        ("fedavg", ["paradigm.inductive=true", "paradigm.neighbours=[4, 2]"]),
        ("fedadam", ["model.name=gat", "model.hidden=2"]),
        ("fedprox", ["model.name=graphsage"]),
        ("scaffold", ["model.name=message-passing"]),
        ("fedper", ["model.name=gin"]),
        ("median", ["paradigm.name=links"]),
        # Its first round trains the generator, its second the model with what that makes up.
        ("fedavg", ["paradigm.name=fedsage", "paradigm.generator_rounds=1"]),
        ("gcfl", SPLITS),
    ],
)
def test_same_bits_as_in_simulation(network, tmp_path, strategy, settings):
    same_bits(network, tmp_path, strategy, settings)


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [("fedavg", []), ("gcfl", [*SPLITS, "model.name=gin"])],
)
def test_sets_of_graphs_have_the_same_bits_as_in_simulation(
    network_of_sets, tmp_path, strategy, settings
):
    same_bits(network_of_sets, tmp_path, strategy, settings)


def same_bits(network, folder, strategy, settings):
    address, path = network
    experiment = load(path, [f"strategy.name={strategy}", *settings])
    there = run(experiment, address, out=folder / "there")
    here = umbel.simulate(experiment, out=folder / "here")
    assert there.status == "finished" and there.sha256 == here.sha256
    assert [r["metrics"] for r in there.records] == [r["metrics"] for r in here.records]
    assert [row["status"] for row in there.records[-1]["clients"]] == ["ok"] * 3
    told = [read_environment(result.folder)["graphs"] for result in (there, here)]
    assert told[0] == told[1] and list(told[0]) == ["client-0", "client-1", "client-2"]
    ways = [clusters(folder / way) for way in ("there", "here")]
    assert ways[0] == ways[1] and len(ways[0]) == (2 if strategy == "gcfl" else 0)


def clusters(run):
    """Whose each cluster's model is, and that model."""
    told = json.loads((run / "environment.json").read_text()).get("clusters", {})
    models = {name: load_file(run / "clusters" / f"{name}.safetensors") for name in told}
    return {
        name: (clients, {key: value.tolist() for key, value in models[name].items()})
        for name, clients in told.items()
    }
