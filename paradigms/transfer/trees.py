"""A forest of decision trees as tensors of constant shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

SMALLEST = 1e-7
"""The least probability whose logarithm is a score."""


class Forest(nn.Module):
    """Log-probabilities (n, classes) of features (n, width): the mean over the trees.

    Each tree has every node that a depth allows, the children of node i at 2i + 1 and 2i + 2; an
    example goes right where its feature is above the threshold. Before any tree is fitted all
    classes are equally likely.

    Args:
        width: how many features there are.
        classes: how many classes there are.
        trees: how many trees there are.
        depth: how many questions each asks.

    >>> forest = Forest(width=2, classes=2, trees=1, depth=1)
    >>> forest(torch.zeros(1, 2)).exp()
    tensor([[0.5000, 0.5000]])
    """

    feature: Tensor
    threshold: Tensor
    leaf: Tensor

    def __init__(self, width: int, classes: int, *, trees: int, depth: int) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        nodes, leaves = 2**depth - 1, 2**depth
        self.register_buffer("feature", torch.zeros(trees, nodes, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(trees, nodes, dtype=torch.float64))
        self.register_buffer("leaf", torch.full((trees, leaves, classes), 1 / classes))

    def forward(self, inputs: Tensor) -> Tensor:
        trees = torch.arange(len(self.leaf)).unsqueeze(1)
        # A client may send any number for a feature's place.
        feature = self.feature.long().clamp(0, self.width - 1)
        node = torch.zeros(len(self.leaf), len(inputs), dtype=torch.int64)
        examples = torch.arange(len(inputs)).unsqueeze(0)
        for _ in range(self.depth):
            value = inputs[examples, feature[trees, node]]
            right = value.double() > self.threshold[trees, node]
            node = 2 * node + 1 + right
        reached = self.leaf[trees, node - (2**self.depth - 1)]
        return reached.mean(dim=0).clamp(min=SMALLEST).log()

    @property
    def code(self) -> str:
        """What makes an empty one, in Python."""
        trees, classes = len(self.leaf), self.leaf.shape[2]
        return f"Forest({self.width}, {classes}, trees={trees}, depth={self.depth})"

    def fill(self, place: int, tree: Any, classes: np.ndarray) -> None:
        """Put a fitted tree of scikit-learn's into a place; `classes` (k,) are the numbers of
        those that it knows."""
        leaf = np.zeros(self.leaf.shape[1:], np.float32)
        feature, threshold = self.feature[place].numpy(), self.threshold[place].numpy()
        inner = len(feature)
        reached = [0]  # The tree's node at each of ours, level by level.
        for node in range(inner + len(leaf)):
            at = reached[node]
            if node >= inner:
                leaf[node - inner, classes] = tree.value[at, 0] / tree.value[at, 0].sum()
            elif tree.children_left[at] < 0:
                # It ends early: both ways lead to the same leaf.
                feature[node], threshold[node] = 0, 0.0
                reached += [at, at]
            else:
                feature[node], threshold[node] = tree.feature[at], tree.threshold[at]
                reached += [tree.children_left[at], tree.children_right[at]]
        self.leaf[place] = torch.from_numpy(leaf)


def forest_head(model: nn.Module) -> Forest | None:
    """A model's output layer, if it is a forest."""
    head = getattr(model, "head", None)
    return head if isinstance(head, Forest) else None
