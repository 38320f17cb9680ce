"""How the examples lie over the clients, in a run's folder and report."""

from __future__ import annotations

import json

import numpy as np
import pytest

import umbel
from umbel.class_counts import counted
from umbel.data import make_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment

DIGITS = {"source": "digits", "clients": 3, "partition": {"name": "dirichlet", "alpha": 0.3}}


def experiment(**sections) -> Experiment:
    sections.setdefault("data", DIGITS)
    sections.setdefault("model", {"name": "mlp", "hidden": [4]})
    return Experiment(experiment={"rounds": 1, "seed": 3}, **sections)


@pytest.mark.parametrize("labelled", [1.0, 0.1])
def test_a_simulated_run_counts_what_its_clients_hold(tmp_path, labelled):
    told = experiment(data={**DIGITS, "labelled": labelled})
    result = umbel.simulate(told, out=tmp_path / "run")
    held = result.partition
    assert held.population == 3 and held.classes == tuple("0123456789")
    shards = make_shards(told)
    for index in range(3):
        y = shards.shard(index).arrays["y"]
        assert np.array_equal(shards.codes(index), y)
        expected = [*np.bincount(y[y >= 0], minlength=10), (y < 0).sum()]
        assert held.of(f"client-{index}").tolist() == expected
    assert (sum(held.of(name)[-1] for name in held.counts) > 0) == (labelled < 1)
    assert "Examples of each class at each client" in (result.folder / "report.html").read_text()


def test_labels_of_nodes_and_of_graphs_are_counted_and_numbers_are_not(tmp_path):
    """One graph of three nodes, and a set of three graphs."""
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "nodes.csv").write_text("id,label,a\n1,u,0\n2,v,1\n3,,2\n")
    (tmp_path / "graphs").mkdir()
    rows = "graph_id,id,label,a\ng,1,u,0\ng,2,u,1\nh,1,v,2\ni,1,v,3\n"
    (tmp_path / "graphs" / "nodes.csv").write_text(rows)
    for folder, expected in (("nodes", [1, 1, 1]), ("graphs", [1, 2, 0])):
        data = {"source": str(tmp_path / folder), "clients": 1}
        held = counted(make_shards(experiment(data=data)))
        [row] = held["clients"]
        assert held["classes"] == ["u", "v"]
        pairs = [[0, expected[0]], [1, expected[1]], [-1, expected[2]]]
        assert row["counts"] == [pair for pair in pairs if pair[1]]
    numbers = "id,label,a\n1,0.5,0\n2,1.5,1\n"
    (tmp_path / "nodes" / "nodes.csv").write_text(numbers)
    source = f"{tmp_path / 'nodes'}?numbers=true"
    assert counted(make_shards(experiment(data={"source": source, "clients": 1}))) is None


def test_of_many_clients_some_are_counted():
    shards = make_shards(experiment(data={"source": "digits", "clients": 450}))
    held = counted(shards)
    assert held["population"] == 450 and len(held["clients"]) == 200
    names = [row["client"] for row in held["clients"]]
    assert names[0] == "client-0" and names[-1] == "client-449"


def test_a_refused_run_leaves_no_counts(tmp_path):
    """In a folder that was there before, too."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput):
        umbel.simulate(experiment(paradigm="nodes"), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_run_on_a_network_of_this_machine_has_them_too(tmp_path):
    from umbel.server.up import up

    told = experiment(data={**DIGITS, "clients": 2})
    result = up(told, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "partition.json").read_text()) == counted(
        make_shards(told)
    )
    assert "Examples of each class" in (result.folder / "report.html").read_text()
