"""Graph neural networks over PyTorch Geometric's layers, for nodes, for graphs and for links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from torch import nn

from ..errors import BadInput
from ..schema import Schema
from .graph_networks import Alone, GraphNetwork, Layer, NodeNetwork, Passing, dropping
from .graph_sources import keep_sources

Aggregate = Literal["mean", "sum", "max"]
Readout = Literal["mean", "sum", "max", "attention"]
Make = Callable[[int, int], nn.Module]
"""A layer from its widths in and out."""

MOST_LAYERS = 100
"""A client builds what a server asks for before it knows how large that is."""


@dataclass(frozen=True)
class Form:
    """What all networks have: `hidden`, the width of all layers but those that score; how many
    `layers`; `drop`, the share of features dropped in training; for graphs, the `readout`."""

    hidden: int
    layers: int
    drop: float
    readout: Readout


def gcn(
    schema: Schema,
    *,
    hidden: int = 64,
    layers: int = 2,
    drop: float = 0.5,
    readout: Readout = "mean",
) -> nn.Module:
    """Graph convolutions: `D^-1/2 (A + I) D^-1/2 X W`.

    Paper: Kipf and Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks,
    arXiv 1609.02907, equation 2.

    Args:
        hidden: the width of all layers but those that score.
        layers: how many there are, >= 1.
        drop: the share of features dropped in training, in [0, 1).
        readout: what makes a graph of its nodes, where graphs are to be told apart.
    """
    conv = _library().GCNConv
    form = Form(hidden, layers, drop, readout)
    return _network(schema, form, lambda i, o: conv(i, o), weighs=True)


def graphsage(
    schema: Schema,
    *,
    hidden: int = 64,
    layers: int = 2,
    drop: float = 0.5,
    readout: Readout = "mean",
    aggregate: Aggregate = "mean",
) -> nn.Module:
    """GraphSAGE: a node's own features beside an aggregate of its neighbours'.

    Paper: Hamilton, Ying and Leskovec 2017, Inductive Representation Learning on Large Graphs,
    arXiv 1706.02216.

    Args:
        hidden: the width of all layers but those that score.
        layers: how many there are, >= 1.
        drop: the share of features dropped in training, in [0, 1).
        readout: what makes a graph of its nodes, where graphs are to be told apart.
        aggregate: of the neighbours.
    """
    conv = _library().SAGEConv
    form = Form(hidden, layers, drop, readout)
    return _network(schema, form, lambda i, o: conv(i, o, aggr=aggregate))


def gat(
    schema: Schema,
    *,
    hidden: int = 8,
    heads: int = 8,
    layers: int = 2,
    drop: float = 0.6,
    readout: Readout = "mean",
) -> nn.Module:
    """Graph attention; attention weights are dropped like features, and so are the mapped features
    that they weight, as in the authors' program.

    Paper: Velickovic et al. 2018, Graph Attention Networks, arXiv 1710.10903.

    Args:
        hidden: the width of each head, in all layers but those that score; of nodes, one head does.
        heads: how many there are.
        layers: how many layers there are, >= 1.
        drop: the share of features dropped in training, in [0, 1).
        readout: what makes a graph of its nodes, where graphs are to be told apart.
    """
    if heads < 1:
        raise BadInput(f"model.heads: {heads} is less than 1")
    conv = _library().GATConv

    def inner(inputs: int, outputs: int) -> nn.Module:
        return dropping(conv(inputs, outputs // heads, heads, dropout=drop), drop)

    def last(inputs: int, outputs: int) -> nn.Module:
        return dropping(conv(inputs, outputs, 1, dropout=drop), drop)

    return _network(schema, Form(hidden * heads, layers, drop, readout), inner, last, nn.ELU())


def gin(
    schema: Schema,
    *,
    hidden: int = 64,
    layers: int = 2,
    drop: float = 0.5,
    readout: Readout = "sum",
) -> nn.Module:
    """Graph isomorphism layers: a perceptron of `(1 + eps) x_i` plus the sum of its neighbours;
    where something is known of the edges, `relu(x_j + W e_ij)` is summed (GINE).

    Paper: Xu et al. 2019, How Powerful are Graph Neural Networks?, arXiv 1810.00826, equation 4.1;
    with edges, Hu et al. 2020, Strategies for Pre-training Graph Neural Networks, arXiv 1905.12265.

    Args:
        hidden: the width of all layers but those that score.
        layers: how many there are, >= 1.
        drop: the share of features dropped in training, in [0, 1).
        readout: what makes a graph of its nodes, where graphs are to be told apart.
    """
    library = _library()

    def make(inputs: int, outputs: int) -> nn.Module:
        inner = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
        if schema.edge_width:
            layer: nn.Module = library.GINEConv(inner, train_eps=True, edge_dim=schema.edge_width)
        else:
            layer = library.GINConv(inner, train_eps=True)
        return layer

    form = Form(hidden, layers, drop, readout)
    return _network(schema, form, make, tells=bool(schema.edge_width))


def passing(
    schema: Schema,
    *,
    hidden: int = 64,
    layers: int = 2,
    drop: float = 0.5,
    readout: Readout = "mean",
    aggregate: Aggregate = "mean",
    update: Literal["sum", "perceptron", "gated"] = "sum",
) -> nn.Module:
    """Message passing whose aggregate and update are parameters; see `Passing`.

    Paper: Gilmer et al. 2017, Neural Message Passing for Quantum Chemistry, arXiv 1704.01212.

    Args:
        hidden: the width of all layers but those that score.
        layers: how many there are, >= 1.
        drop: the share of features dropped in training, in [0, 1).
        readout: what makes a graph of its nodes, where graphs are to be told apart.
        aggregate: of a node's messages.
        update: how they move it.
    """

    def make(inputs: int, outputs: int) -> nn.Module:
        return Passing(inputs, outputs, schema.edge_width, _aggregation(aggregate), update)

    form = Form(hidden, layers, drop, readout)
    return _network(schema, form, make, tells=bool(schema.edge_width))


def node_mlp(
    schema: Schema,
    *,
    hidden: int = 64,
    layers: int = 2,
    drop: float = 0.5,
    readout: Readout = "mean",
) -> nn.Module:
    """A perceptron that looks at no edge: what a graph adds shows beside it.

    Args:
        hidden: the width of all layers but those that score.
        layers: how many there are, >= 1.
        drop: the share of features dropped in training, in [0, 1).
        readout: what makes a graph of its nodes, where graphs are to be told apart.
    """
    return _network(schema, Form(hidden, layers, drop, readout), Alone)


def _network(
    schema: Schema,
    form: Form,
    make: Make,
    last: Make | None = None,
    activation: nn.Module | None = None,
    *,
    tells: bool = False,
    weighs: bool = False,
) -> nn.Module:
    """Layers by what is asked of them: a node's scores come from a last layer, a graph's from its
    readout, and a link's are made of a last layer's features of its ends."""
    if not 1 <= form.layers <= MOST_LAYERS or form.hidden < 1:
        shown = f"layers = {form.layers}, hidden = {form.hidden}"
        raise BadInput(f"model: {shown}; layers are 1 to {MOST_LAYERS}, and hidden is at least 1")
    if not 0 <= form.drop < 1:
        raise BadInput(f"model.drop: {form.drop:g} is not in [0, 1)")
    kind, _, asked = schema.task.partition("-")
    outputs = len(schema.classes) if asked == "classification" else 1
    activation = activation or nn.ReLU()
    width = schema.shape[0] if schema.shape else 0
    widths = [width, *[form.hidden] * form.layers]
    if kind == "graph":
        made = [Layer(make(i, o), o, tells=tells) for i, o in pairwise(widths)]
        keep_sources(made[0].conv)
        return GraphNetwork(made, activation, form.drop, _readout(form), outputs).of(schema)
    if kind not in ("node", "link"):
        raise BadInput(f"model: this one is for graphs, not for {schema.summary()}")
    widths[-1] = form.hidden if kind == "link" else outputs
    makes = [make] * (form.layers - 1) + [last or make]
    pairs = zip(makes, pairwise(widths), strict=True)
    made = [Layer(one(i, o), o, tells=tells, weighs=weighs) for one, (i, o) in pairs]
    keep_sources(made[-1].conv)
    return NodeNetwork(made, activation, form.drop).of(schema)


def _readout(form: Form) -> nn.Module:
    if form.readout != "attention":
        return _aggregation(form.readout)
    attention: nn.Module = _library().aggr.AttentionalAggregation(nn.Linear(form.hidden, 1))
    return attention


def _aggregation(name: Aggregate) -> nn.Module:
    kinds = {"mean": "MeanAggregation", "sum": "SumAggregation", "max": "MaxAggregation"}
    found: nn.Module = getattr(_library().aggr, kinds[name])()
    return found


def _library() -> Any:
    """PyTorch Geometric's layers; raises BadInput where it is not installed."""
    try:
        from torch_geometric import nn as library
    except ImportError as error:
        raise BadInput(
            f"model: graph neural networks need PyTorch Geometric ({error}); install umbel[graph]"
        ) from error
    return library
