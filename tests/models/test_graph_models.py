"""Message passing by hand, against PyTorch Geometric, and whatever the order of the nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import dropout, leaky_relu

from umbel import registry
from umbel.errors import BadInput
from umbel.models.graph_networks import Passing
from umbel.schema import Schema

geometric = pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
NODES = Schema("node-classification", (2,), "float32", classes=("a", "b"))
GRAPHS = replace(NODES, task="graph-classification")
MODELS = ("gcn", "graphsage", "gat", "gin", "message-passing", "node-mlp")

# Four nodes on a path, 0 - 1 - 2 - 3, each edge both ways.
X = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 4.0]])
PAIRS = torch.tensor([[0, 1, 2], [1, 2, 3]])
EDGES = torch.cat([PAIRS, PAIRS.flip(0)], dim=1)
NEIGHBOURS = {
    "mean": [[0.0, 2.0], [2.0, 0.0], [0.0, 3.0], [3.0, 0.0]],
    "sum": [[0.0, 2.0], [4.0, 0.0], [0.0, 6.0], [3.0, 0.0]],
    "max": [[0.0, 2.0], [3.0, 0.0], [0.0, 4.0], [3.0, 0.0]],
}


def build(name, schema=NODES, **parameters):
    torch.manual_seed(0)
    return registry.build("model", name, parameters, schema).eval()


def test_a_convolution_by_hand():
    """D^-1/2 (A + I) D^-1/2 X W."""
    model = build("gcn", layers=1)
    links = torch.eye(4)
    links[EDGES[0], EDGES[1]] = 1
    scale = links.sum(dim=1).rsqrt()
    conv = model.head.conv
    wanted = (scale[:, None] * links * scale) @ X @ conv.lin.weight.T + conv.bias
    torch.testing.assert_close(model(X, EDGES), wanted)
    own = geometric.nn.GCNConv(2, 2)
    own.load_state_dict(conv.state_dict())
    torch.testing.assert_close(model(X, EDGES), own(X, EDGES), rtol=0, atol=0)


def test_what_attention_drops_by_hand():
    """Features before they are mapped, weights, and mapped features, of which the weights have been
    made before; the same draws in the same order."""
    model = build("gat", layers=1, drop=0.5).train()
    conv, features = model.head.conv, torch.rand(4, 2)
    edges = torch.cat([EDGES, torch.arange(4).repeat(2, 1)], dim=1)
    torch.manual_seed(1)
    found = model(features, EDGES)
    torch.manual_seed(1)
    mapped = dropout(features, 0.5) @ conv.lin.weight.T
    begins, ends = ((mapped * found).sum(1) for found in (conv.att_src[0], conv.att_dst[0]))
    weights = torch.full((4, 4), -torch.inf)
    weights[edges[1], edges[0]] = leaky_relu(begins[edges[0]] + ends[edges[1]], 0.2)
    weights = dropout(weights.softmax(dim=1)[edges[1], edges[0], None], 0.5).flatten()
    kept = dropout(mapped[:, None], 0.5)[:, 0]
    wanted = torch.zeros(4, 2).index_add(0, edges[1], weights[:, None] * kept[edges[0]])
    torch.testing.assert_close(found, wanted + conv.bias)


@pytest.mark.parametrize("aggregate", ["mean", "sum", "max"])
def test_every_aggregate_by_hand(aggregate):
    neighbours = torch.tensor(NEIGHBOURS[aggregate])
    sage = build("graphsage", layers=1, aggregate=aggregate)
    near, own = sage.head.conv.lin_l, sage.head.conv.lin_r
    wanted = neighbours @ near.weight.T + near.bias + X @ own.weight.T
    torch.testing.assert_close(sage(X, EDGES), wanted)
    passing = build("message-passing", layers=1, aggregate=aggregate).head.conv
    with torch.no_grad():
        passing.message.weight.copy_(torch.eye(2))
        passing.message.bias.zero_()
    torch.testing.assert_close(passing(X, EDGES), passing.own(X) + neighbours)


def test_a_sum_by_hand_with_what_is_known_of_edges():
    schema = replace(NODES, edge_width=1)
    model = build("gin", schema, layers=1, hidden=5)
    conv = model.head.conv
    known = torch.tensor([[1.0], [-1.0], [2.0]]).repeat(2, 1)
    with torch.no_grad():
        conv.eps.fill_(0.5)
    told = (X[EDGES[0]] + known @ conv.lin.weight.T + conv.lin.bias).relu()
    heard = torch.zeros(4, 2).index_add(0, EDGES[1], told)
    torch.testing.assert_close(model(X, EDGES, known), conv.nn(1.5 * X + heard))


@pytest.mark.parametrize("update", ["sum", "perceptron", "gated"])
def test_every_update_by_hand(update):
    torch.manual_seed(1)
    layer = Passing(2, 3, 0, geometric.nn.aggr.SumAggregation(), update)
    heard = torch.tensor(NEIGHBOURS["sum"]) @ layer.message.weight.T
    heard = heard + torch.tensor([1.0, 2.0, 2.0, 1.0])[:, None] * layer.message.bias
    if update == "sum":
        wanted = layer.own(X) + heard
    elif update == "gated":
        wanted = layer.gate(heard, layer.own(X))
    else:
        wanted = layer.second(layer.own(torch.cat([X, heard], dim=1)).relu())
    torch.testing.assert_close(layer(X, EDGES), wanted)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("edge_width", [0, 2])
def test_the_order_of_nodes_orders_their_scores(name, edge_width):
    model = build(name, replace(NODES, edge_width=edge_width), layers=3)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(12, 2, generator=generator)
    pairs = torch.triu(torch.rand(12, 12, generator=generator) < 0.25, 1).nonzero()
    known = torch.randn(len(pairs), edge_width, generator=generator) if edge_width else None
    if known is not None:
        known = known.repeat(2, 1)
    edges = torch.cat([pairs, pairs.flip(1)]).T
    scores = model(x, edges, known)
    order = torch.randperm(12, generator=generator)
    # Edges come in another order, too.
    mixed = torch.randperm(edges.shape[1], generator=generator)
    moved = torch.argsort(order)[edges][:, mixed]
    found = model(x[order], moved, None if known is None else known[mixed])
    torch.testing.assert_close(found, scores[order])
    assert not torch.allclose(found, scores, atol=1e-3)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("readout", ["mean", "sum", "max", "attention"])
def test_the_order_of_nodes_changes_no_graph(name, readout):
    model = build(name, GRAPHS, readout=readout)
    order = torch.tensor([2, 0, 3, 1])
    place = torch.argsort(order)
    both = torch.cat([X, X[order]])
    edges = torch.cat([EDGES, place[EDGES] + 4], dim=1)
    graph = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    scores = model(both, edges, None, graph, 3)
    torch.testing.assert_close(scores[0], scores[1])
    assert scores.shape == (3, 2)
    assert torch.equal(scores[2], model.head.bias) or readout == "attention"


def test_a_perceptron_hears_nobody():
    model = build("node-mlp")
    assert torch.equal(model(X, EDGES), model(X, EDGES[:, :0]))


STEP = """
import inspect
import torch
from umbel import registry
from umbel.schema import Schema

x, edges = torch.eye(3), torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
for edge_width in (0, 1):
    nodes = Schema("node-classification", (3,), "float32", ("a", "b"), edge_width=edge_width)
    for name in ("gcn", "graphsage", "gat", "gin", "message-passing"):
        model = registry.build("model", name, {}, nodes)
        optimizer = torch.optim.Adam(model.parameters())
        model(x, edges, torch.ones(4, 1) if edge_width else None).sum().backward()
        optimizer.step()
        if name != "message-passing":
            print(name, "def propagate" in inspect.getsource(model.head.conv.propagate))
"""


def test_a_process_leaves_nothing_in_the_temporary_folder(tmp_path):
    """Also where Python keeps what it compiles; and the source can still be looked at."""
    (tmp_path / "folder").mkdir()
    own = {"TMPDIR": str(tmp_path / "folder"), "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, "-c", STEP],
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("True") == 8 and "False" not in done.stdout
    # Torch makes itself an empty folder for compiled models, one a user, as soon as it is imported.
    left = [p for p in (tmp_path / "folder").rglob("*") if p.name[:14] != "torchinductor_"]
    assert left == []


@pytest.mark.parametrize(
    ("name", "parameters", "schema", "said"),
    [
        ("gcn", {"layers": 0}, NODES, "layers = 0"),
        ("gat", {"heads": 0}, NODES, "model.heads: 0 is less than 1"),
        ("gin", {"drop": 1.0}, NODES, "model.drop: 1 is not in"),
        ("gcn", {}, replace(NODES, task="classification"), "this one is for graphs, not for"),
        ("gcn", {"readout": "median"}, GRAPHS, "readout"),
    ],
)
def test_what_no_network_can_be_is_refused(name, parameters, schema, said):
    with pytest.raises(BadInput, match=said):
        build(name, schema, **parameters)
