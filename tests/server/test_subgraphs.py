"""What clients show of their graphs is believed as far as it can be checked."""

from __future__ import annotations

import json

import pytest
import torch
from faulty import envelope_of, raised
from flwr.app import Message

from umbel.errors import UpdateRefused
from umbel.messages import SHOW, Envelope
from umbel.schema import Schema
from umbel.server.subgraphs import read_subgraph
from umbel.subgraphs import read_subgraphs

HONEST = {"nodes": [3], "edges": [[0, 1], [1, 2]], "codes": [0, 1, -1]}
HEAD = {"examples": 9, "links": 8}
BIG = 2**62


def part(*, dtype=torch.int64, **changed):
    told = {name: value for name, value in {**HONEST, **changed}.items() if value is not None}
    return {"subgraph": {name: torch.tensor(value, dtype=dtype) for name, value in told.items()}}


def read(groups, header=HEAD, kind="node"):
    schema = Schema(f"{kind}-classification", (4,), "float32", ("a", "b"))
    return read_subgraph(header, groups, schema, most=10)


def test_what_fits_is_taken():
    assert read(part()) == {**HEAD, **HONEST}
    assert read(part(codes=None))["codes"] is None
    assert read(part(nodes=[2, 1], edges=[[0, 1]]), kind="graph")["nodes"] == [2, 1]
    assert read({"subgraph": {**part()["subgraph"], "edges": torch.zeros(0, 2).long()}})


LIES = {
    "no edges": (part(edges=None), "does not show nodes and edges, and nothing else"),
    "more tensors": (part(x=[1]), "does not show nodes and edges, and nothing else"),
    "more groups": ({**part(), "update": {}}, "does not show nodes and edges, and nothing"),
    "floats": (part(dtype=torch.float32), "does not show 1 to 1 graphs, by how many nodes"),
    "two graphs": (part(nodes=[2, 1], edges=[[0, 1]]), "does not show 1 to 1 graphs"),
    "too many nodes": (part(nodes=[151], codes=[0] * 151), "does not show 1 to 150 nodes"),
    "no nodes": (part(nodes=[0], codes=[]), "does not show 1 to 150 nodes"),
    "a node too far": (part(edges=[[0, 3]]), "leads to a node that is none of the 3"),
    "a node below": (part(edges=[[-1, 2]]), "leads to a node that is none of the 3"),
    "three ends": (part(edges=[[0, 1, 2]]), "its edges are no pairs of whole numbers"),
    "too many edges": (part(edges=[[0, 1]] * 4), "4 edges are more than 3 nodes can have"),
    "a loop": (part(edges=[[1, 1]]), "an edge is a loop, is told twice, or not from its smaller"),
    "an edge twice": (part(edges=[[0, 1]] * 2), "an edge is a loop, is told twice, or"),
    "an edge backwards": (part(edges=[[1, 0]]), "an edge is a loop, is told twice, or"),
    "few codes": (part(codes=[0]), "its class codes are not one whole number for each node"),
    "a class too many": (part(codes=[0, 2, 0]), "a class code is none of the 2 classes"),
    "a class below": (part(codes=[0, -2, 0]), "a class code is none of the 2 classes"),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies_are_refused_by_name(lie):
    groups, reason = LIES[lie]
    with pytest.raises(UpdateRefused, match=reason):
        read(groups)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"links": 8}, "examples None is not in 3 to 10"),
        ({**HEAD, "examples": 2}, "examples 2 is not in 3 to 10"),
        ({**HEAD, "examples": 11}, "examples 11 is not in 3 to 10"),
        ({**HEAD, "examples": True}, "examples True is not in 3 to 10"),
        ({**HEAD, "links": 1}, "links 1 is not in 2 to"),
        ({**HEAD, "links": float("nan")}, "links nan is not in 2 to"),
    ],
)
def test_counts_that_cannot_be_are_refused(header, reason):
    with pytest.raises(UpdateRefused, match=reason):
        read(part(), header)


def test_lies_about_sets_of_graphs_are_refused():
    between = part(nodes=[2, 1])
    with pytest.raises(UpdateRefused, match="an edge leads from one graph to another"):
        read(between, kind="graph")
    with pytest.raises(UpdateRefused, match="does not show 1 to 9 graphs"):
        read(part(nodes=[1] * 10, edges=[[0, 1]], codes=None), kind="graph")
    for sizes in ([BIG, BIG], [100, 100], [-3, 6]):
        with pytest.raises(UpdateRefused, match="does not show 1 to 150 nodes"):
            read(part(nodes=sizes, codes=None), kind="graph")


def test_the_others_are_shown(bench):
    pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
    asked = bench.experiment(
        experiment={"rounds": 1, "seed": 5},
        data={"clients": 4, "source": "their_graphs:heights"},
        model={"name": "gcn", "hidden": 4},
        paradigm="nodes",
        evaluation={"subgraphs": True},
    )
    clients = bench.clients(asked)
    app = clients.app

    def answer(message, context):
        reply = app(message, context)
        if message.metadata.message_type != SHOW:
            return reply
        honest, index = envelope_of(reply), message.metadata.dst_node_id - 1
        if index == 1:
            return raised(message, reply)
        header = {**honest.header, **({"client": "client-0"} if index == 2 else {})}
        groups = {"subgraph": {}} if index == 3 else honest.groups
        return Message(Envelope(header, groups).to_record(), reply_to=message)

    clients.app = answer
    assert bench.run(clients).status == "finished"
    found = read_subgraphs(bench.tmp_path / "run")
    assert list(found.parts) == ["client-0"]
    reasons = dict(found.left_out)
    assert "disk on fire" in reasons["client-1"]
    assert reasons["client-2"] == "it answers as 'client-0'"
    assert "does not show nodes and edges" in reasons["client-3"]
    assert any(note.startswith("parts of graphs: shown by 1 client;") for note in bench.log.notes)
    told = json.loads((bench.tmp_path / "run" / "subgraphs.json").read_text())
    assert [row["status"] for row in told["failures"]] == ["failed", "refused", "refused"]
    assert told["bytes_up"] > 0 and told["bytes_down"] % 4 == 0
