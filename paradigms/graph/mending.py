"""Making up the neighbours that a client's graph lacks."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss, softplus

from ...models.graph import graphsage
from ...models.graph_networks import Network
from ...schema import Schema

HIDDEN = 64
"""The width of what is known of a node when its missing neighbours are made up."""


class Generator(nn.Module):
    """How many neighbours a node lacks, and what their features are, from those that it has.

    `z = encoder(x, edges)`, a GraphSAGE of two layers; the number is `softplus(w z + b)`, and the
    features of at most `most` neighbours are those of a perceptron of `z` and noise: dGen and fGen.

    Paper: Zhang, Yang, Li, Sun and Yiu 2021, Subgraph Federated Learning with Missing Neighbor
    Generation, arXiv 2106.13430, section 4.1.
    """

    def __init__(self, schema: Schema, most: int) -> None:
        super().__init__()
        embedding = replace(schema, task="link-prediction")
        self.encoder = graphsage(embedding, hidden=HIDDEN, layers=2, drop=0.0)
        self.degree = nn.Linear(HIDDEN, 1)
        width = schema.shape[0]
        self.features = nn.Sequential(
            nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, most * width)
        )
        self.shape = most, width

    def forward(
        self, x: Tensor, edges: Tensor, noise: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """(how many (n,), features (n, most, F)); the noise is standard normal, none without a
        generator to draw it from."""
        z = self.encoder(x, edges)
        count = softplus(self.degree(z)).flatten()
        if noise is not None:
            z = z + torch.randn(z.shape, generator=noise)
        return count, self.features(z).reshape(len(x), *self.shape)


class MendedNetwork(Network):
    """A network over nodes that looks at a graph with the neighbours that were made up for it."""

    output_layer = "classifier.head"

    def __init__(self, classifier: nn.Module, generator: Generator) -> None:
        super().__init__()
        self.classifier, self.generator = classifier, generator

    def forward(self, x: Tensor, edges: Tensor, edge_x: Tensor | None = None) -> Tensor:
        scores: Tensor = self.classifier(*mended(x, edges, *self.generator(x, edges)))
        return scores[: len(x)]


def mended(x: Tensor, edges: Tensor, count: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
    """A graph with new nodes after its own, each linked both ways to the node that lacks it.

    Args:
        x: features (n, F).
        edges: (2, m), each both ways.
        count: how many neighbours each node lacks (n,); rounded, and at most P.
        features: of these (n, P, F).

    >>> x, edges = torch.zeros(2, 1), torch.tensor([[0, 1], [1, 0]])
    >>> mended(x, edges, torch.tensor([0.2, 1.9]), torch.tensor([[[5.0], [6.0]], [[7.0], [8.0]]]))
    (tensor([[0.],
            [0.],
            [7.],
            [8.]]), tensor([[0, 1, 1, 1, 2, 3],
            [1, 0, 2, 3, 1, 1]]))
    """
    wanted = made(count, features)
    owner, _ = wanted.nonzero(as_tuple=True)
    fresh = torch.arange(len(x), len(x) + len(owner))
    there, back = torch.stack([owner, fresh]), torch.stack([fresh, owner])
    return torch.cat([x, features[wanted]]), torch.cat([edges, there, back], dim=1)


def made(count: Tensor, features: Tensor) -> Tensor:
    """Which of the features (n, P) are those of neighbours, by how many there are of each node."""
    most = features.shape[1]
    return torch.arange(most) < count.detach().round().clamp(max=most)[:, None]


def impaired(edges: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Edges (2, m), each both ways, without those of nodes that are hidden: (those between nodes
    that are kept (n,), those from such a node to a hidden one)."""
    source, target = edges
    return edges[:, kept[source] & kept[target]], edges[:, kept[source] & ~kept[target]]


def degree_loss(count: Tensor, missing: Tensor, kept: Tensor) -> Tensor:
    """The mean of the smooth L1 distance over nodes that are kept, between how many neighbours (n,)
    they are said to lack and those that are hidden: `L^d`."""
    own = torch.bincount(missing[0], minlength=len(kept)).to(count.dtype)
    return smooth_l1_loss(count[kept], own[kept])


def feature_loss(
    count: Tensor, features: Tensor, x: Tensor, missing: Tensor, kept: Tensor
) -> Tensor:
    """The mean over nodes that are kept of the sum, over the neighbours that are made up, of the
    squared distance to the nearest of those of the same node that are hidden: `L^f`.

    Args:
        count: how many neighbours each node is said to lack (n,).
        features: of these (n, P, F).
        x: of all nodes (n, F).
        missing: edges (2, h) from a node that is kept to one that is hidden.
        kept: nodes (n,).
    """
    owner, hidden = missing
    apart = (features[owner] - x[hidden][:, None]).square().sum(dim=2)
    far = torch.full(features.shape[:2], torch.inf, dtype=features.dtype)
    nearest = far.scatter_reduce(0, owner[:, None].expand_as(apart), apart, "amin")
    # A node of which nobody is hidden has nothing to be compared with.
    lacks = torch.zeros(len(kept), dtype=torch.bool).index_fill(0, owner, True)
    return nearest[made(count, features) & lacks[:, None]].sum() / kept.sum()
