"""Nodes of a client's graph, mended with neighbours that are made up for those at other clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn

from ...errors import BadInput
from ...schema import Schema
from ...tensors import Tensors
from ..base import Batch, BuildModel, MetricSums, Prepared
from .mending import Generator, MendedNetwork, degree_loss, feature_loss, impaired, mended
from .nodes import Nodes

KEPT = "kept"


class FedSage(Nodes):
    """FedSage+: each client trains a classifier of nodes on its graph with made-up neighbours, in
    place of those that are at other clients.

    In the first `generator_rounds`, some of a client's own nodes are hidden with all their edges,
    drawn anew in each epoch. From what is left the generator tells how many neighbours each node
    lacks and which features they have, and `L = a L^d + b L^f + L^c` is descended, with `L^c` the
    classifier's cross-entropy on the labelled nodes that are left, in the graph that the generator
    has mended. In later rounds the generator stays, and the classifier is trained on the whole
    graph, mended.

    The generator is averaged among the clients as the classifier is: what others' nodes look like
    comes to it through their gradients on their own hidden nodes. That is where this is not the
    paper's: there each client keeps a generator of its own, and the others send it the gradients of
    the distances of their nodes to its made-up ones. In a mended graph there is no noise.

    Paper: Zhang, Yang, Li, Sun and Yiu 2021, Subgraph Federated Learning with Missing Neighbor
    Generation, arXiv 2106.13430, section 4.

    Args:
        generator_rounds: in how many rounds the generator is trained, >= 1; a run has more.
        hide: the share of a client's nodes that are hidden, in (0, 1).
        most: how many neighbours are made up for a node at most, >= 1.
        degree_weight: of the loss of numbers of neighbours, a, >= 0.
        feature_weight: of that of their features, b, >= 0.
        normalise: as for `Nodes`.
        inductive: as for `Nodes`, of the generator's training, too.
    """

    passes_around = True
    """Its output layer scores nodes that are made up, too, of which no strategy knows."""

    def __init__(
        self,
        build_model: BuildModel,
        *,
        generator_rounds: int = 10,
        hide: float = 0.5,
        most: int = 5,
        degree_weight: float = 1.0,
        feature_weight: float = 1.0,
        normalise: Literal["none", "sum"] = "none",
        inductive: bool = False,
    ) -> None:
        for name, count in (("generator_rounds", generator_rounds), ("most", most)):
            if count < 1:
                raise ValueError(f"{name}: {count} is less than 1")
        for name, weight in (("degree_weight", degree_weight), ("feature_weight", feature_weight)):
            if not 0 <= weight < torch.inf:
                raise ValueError(f"{name}: {weight:g} is not a number from 0")
        if not 0 < hide < 1:
            raise ValueError(f"hide: {hide:g} is not in (0, 1)")
        super().__init__(build_model, normalise=normalise, inductive=inductive)
        self._rounds, self._hide, self._most = generator_rounds, hide, most
        self._weights = degree_weight, feature_weight
        self._mended: tuple[Tensor, Tensor] | None = None
        self._stays: tuple[Generator, Tensors] | None = None

    def build(self, schema: Schema) -> nn.Module:
        classifier = super().build(schema)
        if schema.edge_width:
            raise BadInput(
                "paradigm.name: fedsage makes up no numbers of edges, and there is "
                f"{schema.summary()}"
            )
        return MendedNetwork(classifier, Generator(schema, self._most)).of(schema)

    def lacking_rounds(self, rounds: int) -> str:
        if rounds > self._rounds:
            return ""
        return (
            f"{rounds} is not more than paradigm.generator_rounds ({self._rounds}), after which "
            f"fedsage trains its model on whole graphs; set at least {self._rounds + 1}, or fewer "
            "generator_rounds"
        )

    def begin(self, model: nn.Module, prepared: Prepared, round: int) -> None:
        self._mended = self._stays = None
        if round <= self._rounds:
            return
        generator = cast("MendedNetwork", model).generator
        # Weight decay, or a strategy's own term, would move it without a gradient.
        self._stays = generator, {n: v.clone() for n, v in generator.state_dict().items()}
        with torch.no_grad():
            x, edges = prepared["x"], prepared["edges"]
            self._mended = mended(x, edges, *generator(x, edges))

    def end(self) -> MetricSums:
        if self._stays is not None:
            generator, tensors = self._stays
            generator.load_state_dict(tensors)
        self._mended = self._stays = None
        return {}

    def batches(
        self, prepared: Prepared, batch_size: int, generator: torch.Generator
    ) -> Iterator[Batch]:
        kept = torch.rand(len(prepared["x"]), generator=generator) >= self._hide
        for batch in super().batches(prepared, batch_size, generator):
            yield {**batch, KEPT: kept}

    def loss(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        network = cast("MendedNetwork", model)
        if self._mended is not None:
            scores = network.classifier(*self._mended)
            return self._targets.loss(scores[batch["rows"]], batch["y"])
        kept, x = batch[KEPT], batch["x"]
        if not bool(kept.any()):
            kept = torch.ones_like(kept)
        left, missing = impaired(batch["edges"], kept)
        count, features = network.generator(x, left, generator)
        degree, feature = self._weights
        total = degree * degree_loss(count, missing, kept)
        total = total + feature * feature_loss(count, features, x, missing, kept)
        known = kept[batch["rows"]]
        if bool(known.any()):
            scores = network.classifier(*mended(x, left, count * kept, features))
            total = total + self._targets.loss(scores[batch["rows"][known]], batch["y"][known])
        return total
