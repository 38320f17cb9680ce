"""What of a site's graph leaves, and what of it does not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from site_bench import SiteBench

from umbel.client.asked import described
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


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (None, {"labels", "examples", "links", "homophily"}),
        ({"leave": {"statistics": ["links"]}}, {"examples", "links"}),
        ({"leave": {"statistics": ["homophily"]}}, {"examples", "homophily"}),
        ({"leave": {"statistics": []}}, {"examples"}),
        ({"leave": {"clip_norm": 1.0, "noise_multiplier": 1.0}}, {"examples"}),
        ({"leave": {"sizes": "rounded"}}, {"labels"}),
        ({"leave": {"sizes": "hidden"}}, {"labels"}),
        ({"limits": {"min_examples": 2}}, {"labels", "examples", "links"}),
    ],
)
def test_what_is_told_of_a_graph_before_round_1_says_the_policy(tmp_path, policy, told):
    site = SiteBench(tmp_path, policy, held=graph())
    reply = site.ask("query", {"round": 0, "held_out": 0.2, "seed": 1})
    assert set(reply.header) - {"protocol", "client", "schema"} == told
    # A path whose classes take turns.
    assert reply.header.get("links", 299) == 299 and reply.header.get("homophily", 0.0) == 0.0
    assert told < set(entry(site.message, site.raw)["told"])


def test_edges_and_homophily_by_hand():
    """Of a square with a diagonal, three edges link labelled nodes, and one of them two of one
    class."""
    edges = np.array([[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]])
    arrays = {"x": np.zeros((4, 2), np.float32), "y": np.array([0, 0, 1, -1]), "edges": edges}
    told = described(Shard("a", SCHEMA, arrays), {})
    assert (told["links"], told["homophily"]) == (5, 1 / 3)
    told = described(Shard("a", SCHEMA, arrays | {"y": np.array([0, -1, -1, 1])}), {})
    assert told["links"] == 5 and "homophily" not in told
    told = described(Shard("a", SCHEMA, arrays | {"edges": edges[:0]}), {})
    assert told["links"] == 0 and "homophily" not in told


def test_of_graphs_that_are_examples_the_edges_are_told_and_of_pictures_nothing():
    schema = Schema("graph-classification", (2,), "float32", ("a", "b"))
    arrays = {"x": np.zeros((5, 2), np.float32), "y": np.array([0, 1])}
    counts = {"nodes": np.array([3, 2]), "links": np.array([2, 1])}
    edges = np.array([[0, 1], [1, 2], [0, 1]])
    told = described(Shard("a", schema, arrays | counts | {"edges": edges}), {})
    assert told["links"] == 3 and "homophily" not in told
    pictures = Shard("a", Schema("classification", (2,), "float32", ("a", "b")), arrays)
    assert not {"links", "homophily"} & set(described(pictures, {}))


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
