"""Labels that spread over one graph of whose nodes each client has some."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import cg
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn

from ...data.boundary import TOLD
from ...data.learnable import LABELLED
from ...data.rows import COUNTS
from ...data.shard import Shard
from ...errors import BadInput, UmbelError
from ...schema import Schema
from ...tensors import Tensors, difference
from ..base import BuildModel, LocalRequest, LocalResult, MetricSums, Prepared
from ..semi_supervised.neighbours import distributions
from ..semi_supervised.start import gather
from ..semi_supervised.summed import NoDescent, label_counts, unlabelled_classes
from .surroundings import Surroundings, told_of
from .targets import Classes

Numbers = NDArray[np.float64]

LABELS = "labels"
DECIMALS = 6
"""Of shares; further ones are rounding, and would break ties between classes."""
CLOSE = 1e-10
"""Of how large a part of what it solves a client's own solution may be off."""


class LabelCounts(nn.Module):
    """How many labels of each class there are, which is what is known of a node that no label
    reaches: scores (n, classes) of n such ones."""

    labels: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.arguments = (classes,)
        """What it was made with, for code that makes another such one."""
        self.register_buffer(LABELS, torch.zeros(classes, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return _scores(self.labels.expand(len(inputs), -1)).to(inputs.dtype)


class NodePropagation(NoDescent):
    """Label propagation over a graph that is divided among the clients, to the labels that it has
    over the whole graph in one place.

    With A the whole graph's edges, d its degrees and Y the labels that are known, as one number
    each, the labels F (nodes, classes) are, without `alpha`, what stays as it is under
    `F_i = sum_j A_ij F_j / d_i` while nodes with a label keep theirs, and with it what does under
    `F_i = alpha sum_j A_ij F_j / sqrt(d_i d_j) + (1 - alpha) Y_i`.

    Each time before round 1, a client finds its nodes' F, given for those next to others' nodes
    what the sums over these came to at last, at first 0; and of each node elsewhere it tells the
    sum over its own next to it, of F_j, or with `alpha` of `F_j / sqrt(d_j)`. What stays is the
    whole graph's: these are block Jacobi iterations, and `I - A / d` of the nodes without a label
    and `I - alpha D^-1/2 A D^-1/2` are M-matrices. Nodes that no label reaches are taken for the
    class of most labels, and the model is nothing but how many labels of each class there are.

    A prepared shard has the whole graph's `degrees` (n,), `rows` (k,), the nodes that count, and
    their classes `y` (k,), `inner` (m, 2), the edges, and what is `reached` (n, classes) from
    elsewhere.

    Paper: Zhu, Ghahramani and Lafferty 2003, Semi-Supervised Learning Using Gaussian Fields and
    Harmonic Functions, ICML, equation 5; with `alpha` Zhou et al. 2004, Learning with Local and
    Global Consistency, NIPS 16, equation 4.

    Args:
        alpha: what of a node's labels comes from its neighbours, in (0, 1); without it labels that
            are known stay.
        exchanges: the most that clients make, >= 2.
        tolerance: they make no more once a sum moves by no more than that, >= 0.
    """

    takes_graphs = True
    learns_from = LABELLED

    def __init__(
        self,
        build_model: BuildModel,
        *,
        alpha: float | None = None,
        exchanges: int = 1000,
        tolerance: float = 1e-6,
    ) -> None:
        if alpha is not None and not 0 < alpha < 1:
            raise ValueError(f"alpha: {alpha:g} is not in (0, 1)")
        if exchanges < 2:
            raise ValueError(f"exchanges: {exchanges} is not at least 2")
        if not tolerance >= 0:
            raise ValueError(f"tolerance: {tolerance:g} is less than 0")
        self.exchanges, self.tolerance, self._alpha = exchanges, tolerance, alpha
        self._classes: tuple[str, ...] = ()

    def build(self, schema: Schema) -> nn.Module:
        if schema.task != "node-classification":
            raise BadInput(
                "paradigm.name: node-propagation is about classes of nodes, and there is "
                f"{schema.summary()}"
            )
        if not schema.classes:
            raise BadInput(
                "data: node-propagation spreads labels, and no node has one; label some, or name "
                "the labels (data.label)"
            )
        self._classes = schema.classes
        return LabelCounts(len(schema.classes))

    def width(self, schema: Schema) -> int:
        """A share of each class."""
        return len(schema.classes)

    def asks(self, shard: Shard) -> Tensor:
        around = Surroundings.of(shard)
        return torch.from_numpy(np.ascontiguousarray(around.ids[around.edge_rows]))

    def offer(self, shard: Shard) -> Tensors:
        """What leaves a client."""
        around, prepared = Surroundings.of(shard), self._prepared(shard, first=True)
        found = self.spread(prepared)
        if self._alpha is not None:
            found *= _root(prepared["degrees"].numpy())[:, None]
        sums = np.zeros((len(around.foreign), found.shape[1]))
        np.add.at(sums, around.outward[:, 1], found[around.outward[:, 0]])
        own = self.asks(shard)
        keys = torch.from_numpy(around.foreign)
        return {"own": own, "keys": keys, "sums": torch.from_numpy(sums).float(), "asks": own}

    def offer_fault(self, offer: Tensors) -> str:
        if not torch.equal(offer["asks"], offer["own"]):
            return "it asks for other nodes than its own"
        if bool(torch.isin(offer["keys"], offer["own"]).any()):
            return "it tells of its own nodes"
        # Each of its nodes beside one elsewhere adds at most 1, whatever the class.
        most = len(offer["own"]) * (1 + 1e-4)
        if bool((offer["sums"] < 0).any()) or bool((offer["sums"].sum(dim=1) > most).any()):
            return "sums are no sums of shares of its nodes"
        return ""

    def prepare(self, shard: Shard) -> Prepared:
        return self._prepared(shard)

    def _prepared(self, shard: Shard, *, first: bool = False) -> dict[str, Tensor]:
        """A prepared shard; at `first` a client need have been told nothing."""
        around, (targets, known) = Surroundings.of(shard), Classes().of(shard)
        if COUNTS in shard.arrays:
            known = known & torch.tensor(shard.arrays[COUNTS])
        rows = known.nonzero().flatten()
        reached = np.zeros((len(shard), len(shard.schema.classes)))
        if len(around.foreign) and not (first and TOLD not in shard.arrays):
            reached[around.edge_rows] = told_of(shard, around.ids[around.edge_rows])
        return {
            # Without the loops of a convolution; a client without a label has a part in it, too.
            "degrees": torch.from_numpy(around.degrees - 1),
            "rows": rows,
            "y": targets[rows],
            "inner": torch.from_numpy(around.inner),
            "reached": torch.from_numpy(reached),
        }

    def spread(self, prepared: Prepared) -> Numbers:
        """The labels F (n, classes) of a client's nodes, given what reaches them from elsewhere."""
        reached, root = prepared["reached"].numpy(), _root(prepared["degrees"].numpy())
        rows, (count, _) = prepared["rows"].numpy(), reached.shape
        given = np.zeros_like(reached)
        given[rows, prepared["y"].numpy()] = 1.0
        ends = prepared["inner"].numpy()
        ones = np.ones(len(ends))
        half = sparse.coo_array((ones, (ends[:, 0], ends[:, 1])), shape=(count, count)).tocsr()
        scaled = sparse.diags_array(root)
        steps = sparse.csr_array(scaled @ (half + half.T) @ scaled)
        arrived = root[:, None] * reached
        if self._alpha is not None:
            whole = sparse.eye_array(count) - self._alpha * steps
            return _solved(whole, self._alpha * arrived + (1 - self._alpha) * given)
        # Of sqrt(d) F, in which the matrix is symmetric.
        free = np.setdiff1d(np.arange(count), rows)
        if not len(free):
            return given
        weights = np.divide(1.0, root, where=root > 0, out=np.zeros_like(root))
        arrived += steps[:, rows] @ (weights[:, None] * given)[rows]
        inside = sparse.eye_array(len(free)) - steps[free][:, free]
        given[free] = root[free, None] * _solved(inside, arrived[free])
        return given

    def local_update(
        self, model: nn.Module, prepared: Prepared, request: LocalRequest
    ) -> LocalResult:
        count = len(prepared["degrees"])
        known = {LABELS: label_counts(prepared["y"], len(self._classes))}
        return LocalResult(count, {"examples": float(count)}, known)

    def least_rounds(self, model: nn.Module) -> int:
        return 1

    def fault(self, model: nn.Module, statistics: Tensors) -> str:
        found = difference(statistics, {LABELS: _counts(model)})
        if not found and not bool((statistics[LABELS] >= 0).all()):
            found = f"{LABELS} holds numbers below 0"
        return found

    def gather(self, total: Tensors, more: Tensors) -> None:
        gather(total, more)

    def absorb(self, model: nn.Module, total: Tensors, round: int) -> str:
        _counts(model).copy_(total[LABELS])
        return unlabelled_classes(total[LABELS], self._classes)

    def evaluate(self, model: nn.Module, prepared: Prepared) -> MetricSums:
        """Of a graph without a label that is known."""
        return Classes().sums(self._judged(model, prepared, None), prepared["y"])

    def evaluate_beside(
        self, model: nn.Module, prepared: Prepared, training: Prepared
    ) -> MetricSums:
        """What is held out are nodes of the graph that is trained on."""
        return Classes().sums(self._judged(model, prepared, training), prepared["y"])

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        return prepared["y"], self._judged(model, prepared, training).argmax(dim=1)

    def _judged(self, model: nn.Module, prepared: Prepared, training: Prepared | None) -> Tensor:
        """Scores (k, classes) of the nodes that count, by what spreads from those trained on."""
        found = np.zeros(prepared["reached"].shape) if training is None else self.spread(training)
        shares = torch.from_numpy(found)[prepared["rows"]].round(decimals=DECIMALS)
        shares = torch.where(shares.any(dim=1, keepdim=True), shares, _counts(model))
        return _scores(shares)


def _root(degrees: Numbers) -> Numbers:
    """`1 / sqrt(d)` (n,), of a node without edges 0."""
    return np.where(degrees > 0, 1.0 / np.sqrt(np.maximum(degrees, 1.0)), 0.0)


def _solved(matrix: Any, right: Numbers) -> Numbers:
    """What a symmetric matrix, positive definite but where the right side is 0, takes there;
    raises UmbelError where that is not found."""
    found = np.zeros_like(right)
    with _threads().limit(limits=1):
        for place in range(right.shape[1]):
            column, fault = cg(matrix, right[:, place], rtol=CLOSE)
            if fault:
                raise UmbelError("node-propagation: labels come to no rest at this client")
            found[:, place] = column
    # Shares of 0 come out as such, or a hair below.
    return np.maximum(found, 0.0)


def _scores(shares: Tensor) -> Tensor:
    return distributions(shares).clamp(min=10**-DECIMALS).log()


@cache
def _threads() -> ThreadpoolController:
    """Looked for once: that takes longer than to solve a small part."""
    return ThreadpoolController()


def _counts(model: nn.Module) -> Tensor:
    return cast("LabelCounts", model).labels
