"""What of a site's graph leaves, and what of it does not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from site_bench import SiteBench

from umbel.client.departures import entry
from umbel.client.policy import read_policy
from umbel.data.shard import Shard
from umbel.data.subgraphs import sampled
from umbel.errors import BadInput, Declined, UmbelError
from umbel.experiment import Experiment
from umbel.schema import Schema

SCHEMA = Schema("node-classification", (2,), "float32", ("a", "b"))


def graph(nodes: int = 300) -> Shard:
    edges = np.stack([np.arange(nodes - 1), np.arange(1, nodes)], axis=1)[: max(0, nodes - 1)]
    x = np.full((nodes, 2), 7.0, np.float32)
    return Shard("site-a", SCHEMA, {"x": x, "y": np.arange(nodes) % 2, "edges": edges})


def show(tmp_path, policy=None, shard=None, **header):
    pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
    of = Experiment(model={"name": "gcn", "hidden": 3}, paradigm="nodes")
    head = {"run": "run-1", "round": 2, "experiment": of.to_json(), "config": {}, **header}
    site = SiteBench(tmp_path, policy, held=graph() if shard is None else shard)
    return site.ask("query.show", head), site


@pytest.mark.parametrize("policy", [None, {}, {"leave": {"statistics": ["*"], "errors": True}}])
def test_nothing_of_a_graph_leaves_unless_its_owner_says_so(tmp_path, policy):
    with pytest.raises(Declined, match=r"no part of the graph leaves \(leave.subgraph\)"):
        show(tmp_path, policy)


def test_edges_leave_without_classes_or_with_them_and_features_never(tmp_path):
    shard = graph()
    expected = sampled(shard.arrays, "site-a")
    for policy in ("edges", "classes"):
        told, site = show(tmp_path, {"leave": {"subgraph": policy}})
        part = told.groups["subgraph"]
        assert set(told.groups) == {"subgraph"}
        assert set(part) == {"nodes", "edges", *(["codes"] if policy == "classes" else [])}
        np.testing.assert_array_equal(part["edges"], expected.edges)
        assert set(told.header) - {"protocol"} == {"client", "examples", "links"}
        assert (told.header["examples"], told.header["links"]) == (300, 299)
        line = entry(site.message, site.raw)
        assert line["kind"] == "query.show" and "subgraph/edges" in line["tensors"]
    np.testing.assert_array_equal(part["codes"], expected.y)
    # 16 bytes an edge, 8 a node and 8 for their number, as docs/graphs.md says.
    assert sum(t.nbytes for t in part.values()) == 16 * len(expected.edges) + 8 * 150 + 8


def test_a_server_is_shown_the_same_whatever_it_says(tmp_path):
    allowed = {"leave": {"subgraph": "edges"}}
    first, _ = show(tmp_path, allowed)
    other = Experiment(experiment={"seed": 9}, model={"name": "gcn"}, paradigm="nodes")
    again, _ = show(tmp_path, allowed, run="run-2", round=7, experiment=other.to_json())
    assert first.groups["subgraph"]["edges"].equal(again.groups["subgraph"]["edges"])


def test_the_rest_of_the_policy_holds_and_must_go_together_with_it(tmp_path):
    narrow = {"allow": {"paradigms": ["graphs"]}, "leave": {"subgraph": "edges"}}
    with pytest.raises(Declined, match="paradigm nodes is not among allow.paradigms"):
        show(tmp_path, narrow)
    for text, reason in (
        ("[leave]\nsubgraph = 'edges'\nsizes = 'rounded'", "how many nodes there are; needs sizes"),
        ("[limits]\nmin_examples = 5\n[leave]\nsubgraph = 'edges'", "nodes one by one; needs lim"),
        ("[leave]\nsubgraph = 'all'", "leave.subgraph: must be 'none', 'edges' or 'classes'"),
    ):
        path = tmp_path / "site.toml"
        path.write_text(text)
        with pytest.raises(BadInput, match=reason):
            read_policy(path)


def test_who_has_no_graph_says_so(tmp_path):
    allowed = {"leave": {"subgraph": "edges"}}
    with pytest.raises(UmbelError, match="site-a: has no nodes to show"):
        show(tmp_path, allowed, graph(0))
    bare = {name: array for name, array in graph().arrays.items() if name != "edges"}
    with pytest.raises(UmbelError, match="site-a: has no graph to show"):
        show(tmp_path, allowed, Shard("site-a", SCHEMA, bare))


def test_the_log_holds_no_value(tmp_path):
    _, site = show(tmp_path, {"leave": {"subgraph": "classes"}})
    line = json.dumps(entry(site.message, site.raw))
    assert "300" not in line and "299" not in line
