"""A classifier by the nearest of some points."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .mixture import SMALLEST
from .summed import points


class Neighbours(nn.Module):
    """Log-probabilities (n, classes) of inputs (n, ...) with d numbers each: the mean of the class
    distributions of the nearest points, all classes being as likely where these say nothing.

    `points` (m, d) and `labels` (m, classes), which need not add up to 1, are float64.

    Args:
        count: m, how many points; with 0 nothing is ever said.
        width: d.
        classes: how many.
        neighbours: how many of the points are looked at, >= 1.

    >>> said = Neighbours(3, 1, 2, 2)
    >>> _ = said.points.copy_(torch.tensor([[0.0], [1.0], [9.0]]))
    >>> _ = said.labels.copy_(torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 2.0]]))
    >>> said(torch.tensor([[0.2], [8.0]])).exp()
    tensor([[0.7500, 0.2500],
            [0.2500, 0.7500]])
    """

    points: Tensor
    labels: Tensor

    def __init__(self, count: int, width: int, classes: int, neighbours: int) -> None:
        super().__init__()
        self.arguments = (count, width, classes, neighbours)
        """What it was made with, for code that makes another such one."""
        self.neighbours = neighbours
        self.register_buffer("points", torch.zeros(count, width, dtype=torch.float64))
        self.register_buffer("labels", torch.zeros(count, classes, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        own = points(inputs)
        if not len(self.points):
            return own.new_zeros(len(own), self.labels.shape[1]).log_softmax(1).to(inputs.dtype)
        # Squared distances but for what is the same for all points; by products, which graphs of
        # ONNX have, and about the points' middle, so that no digits are lost.
        middle = self.points.mean(dim=0)
        known = self.points - middle
        near = known.square().sum(dim=1) - 2 * (own - middle) @ known.T
        rows = near.topk(min(self.neighbours, len(self.points)), largest=False).indices
        scores = distributions(distributions(self.labels)[rows].sum(dim=1))
        even = 1 / self.labels.shape[1]
        scores = torch.where(scores.sum(dim=1, keepdim=True) > 0, scores, even)
        return scores.clamp(min=SMALLEST).log().to(inputs.dtype)


def distributions(labels: Tensor) -> Tensor:
    """Rows (n, classes) divided by their sums; those of zeros stay as they are."""
    total = labels.sum(dim=1, keepdim=True)
    return labels / torch.where(total > 0, total, 1.0)
