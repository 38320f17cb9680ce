"""A mixture of normal distributions whose components say classes."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from .summed import points

Covariance = Literal["full", "diag"]

SMALLEST = 1e-30
"""The least probability whose logarithm is a score."""


class Mixture(nn.Module):
    """Log-probabilities (n, classes) of inputs (n, ...) with d numbers each: `log sum_k p(k | x)
    p(c | k)`.

    `weights` (k,), `means` (k, d), `covariances` (k, d, d) or, diagonal, (k, d), and `names`
    (k, classes), the probability of a class in a component, are float64.

    >>> mixture = Mixture(2, 1, 2, "diag")
    >>> _ = mixture.means.copy_(torch.tensor([[-1.0], [1.0]]))
    >>> _ = mixture.names.copy_(torch.eye(2))
    >>> mixture(torch.tensor([[0.0], [1.0]])).exp()
    tensor([[0.5000, 0.5000],
            [0.1192, 0.8808]])
    """

    weights: Tensor
    means: Tensor
    covariances: Tensor
    names: Tensor

    def __init__(self, components: int, width: int, classes: int, covariance: Covariance) -> None:
        super().__init__()
        self.arguments = (components, width, classes, covariance)
        """What it was made with, for code that makes another such one."""
        one = torch.eye(width) if covariance == "full" else torch.ones(width)
        share = 1 / components
        self.register_buffer("weights", torch.full((components,), share, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(components, width, dtype=torch.float64))
        self.register_buffer("covariances", one.double().repeat(components, *[1] * one.dim()))
        names = torch.full((components, classes), 1 / classes, dtype=torch.float64)
        self.register_buffer("names", names)

    def forward(self, inputs: Tensor) -> Tensor:
        joint = self.log_joint(points(inputs))
        share = joint.softmax(dim=1)
        scores = (share @ self.names).clamp(min=SMALLEST).log()
        return scores.to(inputs.dtype)

    def log_joint(self, own: Tensor) -> Tensor:
        """`log p(k) p(x | k)` of points (n, d), (n, k)."""
        width = self.means.shape[1]
        constant = self.weights.log() - 0.5 * width * math.log(2 * math.pi)
        if self.covariances.dim() == 2:
            return constant - 0.5 * (self.covariances.log().sum(dim=1) + self._deviations(own))
        roots = torch.linalg.cholesky(self.covariances)
        spread = roots.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        distances = [
            torch.linalg.solve_triangular(root, (own - mean).T, upper=False).square().sum(dim=0)
            for root, mean in zip(roots, self.means, strict=True)
        ]
        joint: Tensor = constant - spread - 0.5 * torch.stack(distances, dim=1)
        return joint

    def _deviations(self, own: Tensor) -> Tensor:
        """`sum_j (x_j - m_j)^2 / v_j` of points (n, d), (n, k): by products, about the components'
        middle, for about 0 digits would be lost where points lie far from it."""
        middle = self.means.mean(dim=0)
        moved, means, inverse = own - middle, self.means - middle, self.covariances.reciprocal()
        crossed = moved @ (means * inverse).T
        return moved.square() @ inverse.T - 2 * crossed + (means.square() * inverse).sum(dim=1)
