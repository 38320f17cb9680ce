"""Data from which nothing can be learnt are refused before anything is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import umbel
from umbel.data import make_shards
from umbel.data.communities import louvain
from umbel.data.pool import Pool
from umbel.errors import BadInput
from umbel.experiment import load

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")

RING = np.array([[k, (k + 1) % 12] for k in range(12)])
NO_EDGE = np.zeros((0, 2), np.int64)
NODES = """
[experiment]
rounds = 1
[data]
source = "g.npz"
clients = 2
[model]
name = "gcn"
hidden = 4
[paradigm]
name = "nodes"
"""


def graph(folder: Path, edges=RING, y=(0, 1) * 6, **more) -> None:
    """A ring of 12 nodes of two classes, and the experiment that learns them."""
    x = np.eye(12, 3, dtype=np.float32)
    np.savez(folder / "g.npz", x=x, y=np.array(y), edges=edges, **more)
    (folder / "g.toml").write_text(NODES)


NOBODY = "umbel: data.source: g: no client has"


@pytest.mark.parametrize(
    ("arrays", "changes", "said"),
    [
        ({"y": (-1,) * 12}, [], f"{NOBODY} labelled examples to train on, which nodes learns"),
        (
            {"y": (-1,) * 12},
            ["paradigm.name=node-propagation"],
            f"{NOBODY} labelled examples to train on, which node-propagation learns from; label",
        ),
        (
            {"y": (-1,) * 6 + (0, 1) * 3, "train": range(6), "test": range(6, 12)},
            [],
            "learns from; label some that are not held out",
        ),
        (
            {"train": NO_EDGE[:, 0], "test": range(12)},
            [],
            "learns from; label some that are not held out",
        ),
        (
            {"edges": NO_EDGE},
            ["paradigm.name=links"],
            f"{NOBODY} edges to train on, which links learns from; give it some, or take nodes",
        ),
        (
            {},
            ["paradigm.name=links", "data.clients=12"],
            "learns from; give it some, or divide it otherwise (data.partition)",
        ),
        ({}, ["data.labelled=0.0"], "umbel: data.labelled: no client has a label; raise it"),
        ({}, ["data.clients=13", "data.partition=louvain"], "13 clients but only 12 nodes"),
    ],
    ids=["label", "spread", "train", "test", "edge", "across", "hidden", "node"],
)
@pytest.mark.parametrize("command", ["simulate", "up", "check --data"])
def test_nothing_to_learn_from_is_one_line(umbel, tmp_path, command, arrays, changes, said):
    graph(tmp_path, **arrays)
    before = sorted(tmp_path.iterdir())
    set_ = [part for change in changes for part in ("--set", change)]
    code, _, told = umbel(*command.split(), "g.toml", *set_)
    assert code == 2
    assert len(told.splitlines()) == 1 and said in told
    assert sorted(tmp_path.iterdir()) == before


def test_the_check_can_be_the_first_that_a_process_imports():
    """As in the processes that a run's clients live in."""
    subprocess.run([sys.executable, "-c", "from umbel.data import check_learnable"], check=True)


def test_numbers_that_nobody_knows_are_refused(umbel, tmp_path):
    rows = [f"{k},{'' if k < 12 else k},{k % 2}" for k in range(12)]
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "nodes.csv").write_text("\n".join(["id,label,a", *rows]))
    (tmp_path / "g.toml").write_text(NODES)
    code, _, told = umbel("simulate", "g.toml", "--set", 'data.source="g?numbers=true"')
    assert code == 2 and "no client has labelled examples to train on" in told


@pytest.mark.parametrize(
    ("arrays", "changes", "lacks"),
    [
        ({"train": [0, 1, 2], "test": range(3, 12)}, [], "labelled examples"),
        ({}, ["paradigm.name=links"], "edges"),
    ],
)
def test_a_client_that_has_nothing_says_what_it_lacks(tmp_path, arrays, changes, lacks):
    """Others go on without it."""
    graph(tmp_path, **arrays)
    changes = [*changes, "data.clients=6", "data.held_out=0.0"]
    result = umbel.simulate(load(tmp_path / "g.toml", changes), out=tmp_path / "run")
    [record] = result.records
    lacking = [row for row in record["clients"] if row["status"] != "ok"]
    assert 0 < len(lacking) < 6
    assert {row["status"] for row in lacking} == {"failed"}
    for row in lacking:
        assert row["reason"].endswith(f"{row['client']}: no {lacks} to train on")


def test_clients_tell_of_their_edges_before_round_1(tmp_path):
    """Also of those of which a study hides a label; the record and the report tell of it."""
    graph(tmp_path)
    changes = ["data.clients=3", "data.labelled=0.5"]
    experiment = load(tmp_path / "g.toml", changes)
    result = umbel.simulate(experiment, out=tmp_path / "run")
    told = json.loads((tmp_path / "run" / "environment.json").read_text())["graphs"]
    assert list(told) == ["client-0", "client-1", "client-2"]
    shards = make_shards(experiment)
    for index, name in enumerate(told):
        arrays = shards.shard(index).arrays
        assert told[name]["links"] == len(arrays["edges"])
        ends = [arrays["y"][edge].tolist() for edge in arrays["edges"]]
        known = [one == other for one, other in ends if min(one, other) >= 0]
        assert told[name].get("homophily") == (sum(known) / len(known) if known else None)
    assert sum(row["links"] for row in told.values()) > 0
    assert "Edges of each client" in (result.folder / "report.html").read_text()


def test_a_server_that_is_told_of_no_edge_refuses_links(tmp_path, monkeypatch):
    """Over a network the server alone can see it: here the look at the divided data is left out."""
    graph(tmp_path, edges=NO_EDGE)
    monkeypatch.setattr("umbel.simulation.engine.check_learnable", lambda *_: None)
    with pytest.raises(BadInput, match="links learns from edges, and no client has one"):
        umbel.simulate(load(tmp_path / "g.toml", ["paradigm.name=links"]), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@given(st.integers(1, 40), st.integers(0, 60), st.integers(1, 12), st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_every_client_of_a_divided_graph_has_a_node(nodes, edges, clients, slack):
    generator = np.random.default_rng(nodes + edges)
    pairs = generator.integers(nodes, size=(edges, 2))
    pool = Pool(np.zeros(nodes, np.int64), clients, 3, 1, edges=pairs)
    assume(nodes >= clients)
    rows = [louvain(pool, slack=slack)(k) for k in range(clients)]
    assert min(map(len, rows)) > 0
    assert sorted(np.concatenate(rows).tolist()) == list(range(nodes))
