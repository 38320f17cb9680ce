"""Nodes of one graph that is divided among clients, with features summed across the division."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from ...data.boundary import TOLD
from ...data.rows import EDGES
from ...data.shard import Shard
from ...errors import BadInput, UmbelError
from ...schema import Schema
from ...tensors import Tensors
from ..base import Batch, BuildModel
from .nodes import Nodes
from .surroundings import Surroundings, told_of


class FedGcn(Nodes):
    """FedGCN: graph convolutions over a graph of whose nodes each client has some, where the first
    one looks at all neighbours, wherever they are.

    Before round 1 each client tells, once, of every node elsewhere that its own are neighbours of,
    `sum of x_j / sqrt(d_j)` over those, with d the degrees in the whole graph, loops included. The
    totals make the first convolution's input `sum of x_j / sqrt(d_i d_j)`, which no weight is in,
    the whole graph's: of a client's own nodes (1 hop), and of their neighbours elsewhere (2 hops),
    which makes the second convolution of its own nodes that of the whole graph, too. Further ones
    look at the client's own nodes alone. The model is an ordinary GCN.

    A prepared shard has the first convolution's input as `x` (n, F), with 2 hops (n + f, F);
    `edges` (2, e), from place to place, and their `weights` (e,) are what later ones look at.

    Paper: Yao, Jin, Ravi and Joe-Wong 2023, FedGCN: Convergence-Communication Tradeoffs in
    Federated Training of Graph Convolutional Networks, arXiv 2201.12433, section 4.

    Args:
        hops: 1 or 2: how far a client's nodes see into the others' parts.
        normalise: as for `Nodes`, before anything is summed.
    """

    passes_around = True
    """It calls no layer, so that no strategy can look at what one gives."""

    def __init__(
        self,
        build_model: BuildModel,
        *,
        hops: int = 2,
        normalise: Literal["none", "sum"] = "none",
    ) -> None:
        if hops not in (1, 2):
            raise ValueError(f"hops: {hops} is neither 1 nor 2")
        super().__init__(build_model, normalise=normalise)
        self._hops = hops
        self._last: tuple[list[np.ndarray | None], dict[str, Tensor]] = [None] * 3, {}

    def build(self, schema: Schema) -> nn.Module:
        model = super().build(schema)
        layers = [*getattr(model, "body", ()), getattr(model, "head", None)]
        if not all(is_usual(convolution(layer)) for layer in layers):
            raise BadInput("model.name: fedgcn is for graph convolutions alone; set it to gcn")
        return model

    def width(self, schema: Schema) -> int:
        """A node's features, and with 2 hops its degree."""
        return schema.shape[0] + self._hops - 1

    def asks(self, shard: Shard) -> Tensor:
        around = Surroundings.of(shard)
        own = around.ids[around.edge_rows]
        keys = own if self._hops == 1 else np.sort(np.concatenate([own, around.foreign]))
        return torch.from_numpy(np.ascontiguousarray(keys))

    def offer(self, shard: Shard) -> Tensors:
        """What leaves a client. With 2 hops it tells of its own nodes that have neighbours
        elsewhere, too: their degrees, and sums over them and their neighbours at this client."""
        around, x = Surroundings.of(shard), self.features(shard).numpy()
        own = around.ids[around.edge_rows]
        keys, sums = around.foreign, around.sums_outside(x)
        if self._hops == 2:
            rows = around.edge_rows
            inside = np.column_stack([around.sums_inside(x)[rows], around.degrees[rows]])
            outside = np.column_stack([sums, np.zeros(len(sums))])
            keys, sums = np.concatenate([own, keys]), np.concatenate([inside, outside])
            order = np.argsort(keys)
            keys, sums = keys[order], sums[order]
        found = {"own": own, "keys": keys, "sums": sums.astype(np.float32)}
        told = {n: torch.from_numpy(np.ascontiguousarray(value)) for n, value in found.items()}
        return {**told, "asks": self.asks(shard)}

    def offer_fault(self, offer: Tensors) -> str:
        if self._hops == 1 and not torch.equal(offer["asks"], offer["own"]):
            return "it asks for other nodes than its own"
        elsewhere = ~torch.isin(offer["keys"], offer["own"])
        if self._hops == 2 and bool(offer["sums"][elsewhere, -1].any()):
            return "it tells degrees of nodes that are not its own"
        return ""

    def graph(self, shard: Shard) -> dict[str, Tensor]:
        # What a client trains on and what it holds out are of one graph, and share its tensors.
        parts = [shard.arrays.get(name) for name in ("x", EDGES, TOLD)]
        if any(one is not other for one, other in zip(parts, self._last[0], strict=True)):
            self._last = parts, self._convolved(shard)
        return self._last[1]

    def _convolved(self, shard: Shard) -> dict[str, Tensor]:
        around = Surroundings.of(shard)
        sums, outside = around.sums_inside(self.features(shard).numpy()), np.empty(0)
        degrees = around.degrees
        if len(around.foreign):
            at_edge = told_of(shard, around.ids[around.edge_rows])
            if self._hops == 1:
                sums[around.edge_rows] += at_edge
            else:
                sums[around.edge_rows] = at_edge[:, :-1]
                beyond = told_of(shard, around.foreign)
                outside = beyond[:, -1]
                if bool((outside < 2).any()):
                    raise UmbelError(f"{shard.client}: a neighbour elsewhere has no edge")
                sums = np.concatenate([sums, beyond[:, :-1]])
                degrees = np.concatenate([degrees, outside])
        pairs, weights = around.messages(outside)
        return {
            "x": torch.from_numpy(sums / np.sqrt(degrees)[:, None]).float(),
            "edges": torch.from_numpy(pairs),
            "weights": torch.from_numpy(weights).float(),
        }

    def scores(self, model: nn.Module, batch: Batch) -> Tensor:
        x, weights = batch["x"], batch["weights"]
        source, target = batch["edges"]
        # Each of the client's own nodes has a loop, and no other is a target.
        own = int(target.max()) + 1 if len(target) else 0
        layers = [*model.body, model.head]  # type: ignore[misc]
        for place, layer in enumerate(layers):
            conv = convolution(layer)
            x = conv.lin(dropout(x, model.drop, model.training))  # type: ignore[arg-type]
            if place > 0:
                known = slice(None) if place == 1 else source < own
                messages = x[source[known]] * weights[known, None]
                x = x.new_zeros(own, x.shape[1]).index_add(0, target[known], messages)
            x = x + conv.bias
            if place < len(layers) - 1:
                x = model.activation(x)  # type: ignore[operator]
        return x


def convolution(layer: nn.Module | None) -> Any:
    """PyTorch Geometric's layer in a network's."""
    return getattr(layer, "conv", layer)


def is_usual(layer: Any) -> bool:
    """Whether a layer is a graph convolution as Kipf and Welling have it, `A W x + b`."""
    from torch_geometric.nn import GCNConv

    if not isinstance(layer, GCNConv) or layer.bias is None:
        return False
    return bool(layer.normalize and layer.add_self_loops and not layer.improved)
