"""Networks of message-passing layers: over the nodes of a graph, and over whole graphs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from ..schema import Schema

if TYPE_CHECKING:
    from torch_geometric.nn import GCNConv, MessagePassing


class Layer(nn.Module):
    """A message-passing layer whose output has a known width; `tells` says whether it looks at what
    is known of each edge, `weighs` whether it is a graph convolution, which takes degrees from
    edges."""

    def __init__(
        self, conv: nn.Module, out_features: int, *, tells: bool = False, weighs: bool = False
    ) -> None:
        super().__init__()
        self.conv, self.out_features = conv, out_features
        self._tells, self._weighs = tells, weighs

    def forward(
        self,
        x: Tensor,
        edges: Tensor,
        edge_x: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        if self._weighs and weights is not None:
            return convolved(self.conv, x, edges, weights)
        told = (edge_x,) if self._tells else ()
        found: Tensor = self.conv(x, edges, *told)
        return found


def convolved(conv: nn.Module, x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """What PyTorch Geometric's graph convolution makes of nodes (n, F) with weights (m + n,), those
    of its edges (2, m) before those of each node's loop, in place of its own."""
    layer = cast("GCNConv", conv)
    loops = torch.arange(len(x)).repeat(2, 1)
    pairs = torch.cat([edges, loops], dim=1)
    found: Tensor = layer.propagate(pairs, x=layer.lin(x), edge_weight=weights)
    return found if layer.bias is None else found + layer.bias


class Network(nn.Module):
    """What networks over graphs have in common; `schema` is what they were built for."""

    output_layer = "head"
    schema: Schema

    def of(self, schema: Schema) -> Self:
        self.schema = schema
        return self


class NodeNetwork(Network):
    """Scores (n, outputs) of the nodes of a graph from their features (n, F), edges (2, m) as
    (from, to), each way one, and what is known of these (m, E).

    `weights` (m + n,), of the edges and then of each node's loop, are what graph convolutions weigh
    messages by where the edges are but some of the graph's; without them they reckon their own.
    Dropout comes before each layer, an activation after all but the last. `body` holds all layers
    but the last, `head` is that.
    """

    def __init__(self, layers: Sequence[Layer], activation: nn.Module, drop: float) -> None:
        super().__init__()
        self.body = nn.ModuleList(layers[:-1])
        self.head = layers[-1]
        self.activation, self.drop = activation, drop

    def forward(
        self,
        x: Tensor,
        edges: Tensor,
        edge_x: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        told = edges, edge_x, weights
        for layer in self.body:
            x = self.activation(layer(dropout(x, self.drop, self.training), *told))
        scores: Tensor = self.head(dropout(x, self.drop, self.training), *told)
        return scores


class GraphNetwork(Network):
    """Scores (count, outputs) of so many graphs, whose nodes and edges are as in `NodeNetwork`, all
    in one; `graph` (n,) says for each node which one it is in.

    An activation follows every layer of `body`; `readout` makes a graph's features of its nodes',
    and `head` scores of these.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        activation: nn.Module,
        drop: float,
        readout: nn.Module,
        outputs: int,
    ) -> None:
        super().__init__()
        self.body = nn.ModuleList(layers)
        self.readout = readout
        self.head = nn.Linear(layers[-1].out_features, outputs)
        self.activation, self.drop = activation, drop

    def forward(
        self, x: Tensor, edges: Tensor, edge_x: Tensor | None, graph: Tensor, count: int
    ) -> Tensor:
        for layer in self.body:
            x = self.activation(layer(dropout(x, self.drop, self.training), edges, edge_x))
        pooled = self.readout(x, graph, dim_size=count)
        scores: Tensor = self.head(dropout(pooled, self.drop, self.training))
        return scores


def dropping(attention: MessagePassing, drop: float) -> nn.Module:
    """A layer of attention that in training also drops a share of what the weights are given to."""
    attention.register_propagate_forward_pre_hook(partial(_dropped, drop))
    layer: nn.Module = attention
    return layer


def _dropped(drop: float, layer: nn.Module, told: tuple[Any, Any, dict[str, Any]]) -> Any:
    edges, size, given = told
    begins, ends = given["x"]
    return edges, size, {**given, "x": (dropout(begins, drop, layer.training), ends)}


class Alone(nn.Module):
    """No message at all: a linear map of each node's own features."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.own = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        found: Tensor = self.own(x)
        return found


class Passing(nn.Module):
    """One step of message passing whose parts are parameters: a node's messages `M x_j`, with what
    is known of the edge `M [x_j, e_ij]`, are aggregated to `m_i`, and

    - `sum`: `W x_i + m_i`;
    - `perceptron`: `W2 relu(W1 [x_i, m_i])`;
    - `gated`: a gated recurrent unit whose state is `W x_i` and whose input is `m_i`.

    Paper: Gilmer et al. 2017, Neural Message Passing for Quantum Chemistry, arXiv 1704.01212,
    equations 1 and 2.
    """

    def __init__(
        self, inputs: int, outputs: int, edge_width: int, aggregation: nn.Module, update: str
    ) -> None:
        super().__init__()
        self.message = nn.Linear(inputs + edge_width, outputs)
        self.aggregation, self.update = aggregation, update
        self.own = nn.Linear(inputs, outputs)
        if update == "perceptron":
            self.own = nn.Linear(inputs + outputs, outputs)
            self.second = nn.Linear(outputs, outputs)
        elif update == "gated":
            self.gate = nn.GRUCell(outputs, outputs)

    def forward(self, x: Tensor, edges: Tensor, edge_x: Tensor | None = None) -> Tensor:
        source, target = edges
        sent = x[source] if edge_x is None else torch.cat([x[source], edge_x], dim=1)
        messages = self.aggregation(self.message(sent), target, dim_size=len(x))
        if self.update == "perceptron":
            found = self.second(self.own(torch.cat([x, messages], dim=1)).relu())
        elif self.update == "gated":
            found = self.gate(messages, self.own(x))
        else:
            found = self.own(x) + messages
        return torch.as_tensor(found)
