"""Class scores calibrated by how often a client sees each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .hyper import Hyper, at, check_hyper
from .local_parts import LocalRun, Plain
from .output_layer import output_layer
from .telling import label_counts

ABSENT = 1e-8
"""Stands for the number of examples of a class that a client does not have."""


@dataclass(frozen=True)
class Calibrated(Plain):
    """FedLC's calibrated cross-entropy: while a client trains, `tau * n_y^(-1/4)` is taken off
    the score of each class y, of which it has n_y examples.

    Rare classes so need a larger margin, and absent ones are hardly pushed away. The loss that
    the paradigm makes of the scores is the calibrated one; evaluation sees the plain scores. A
    paradigm that learns without labels, too, gets calibrated scores of those examples as well.

    Paper: Zhang et al. 2022, Federated Learning with Label Distribution Skew via Logits
    Calibration, arXiv 2209.00189, equation 8. As printed, the sum below the fraction leaves the
    true class out, and the loss has no least value; here it is among the others, as in the softmax
    cross-entropy that the paper calibrates and in other implementations of it.
    """

    tau: Hyper = 1.0

    def __post_init__(self) -> None:
        check_hyper("tau", self.tau, least=0.0)

    def begin(self, run: LocalRun) -> RemovableHandle:
        layer = output_layer(run.model)[1]
        counts = label_counts(run, cast("int", layer.out_features)).double().clamp(min=ABSENT)
        margins = at(self.tau, run.round) * counts.pow(-0.25)

        def calibrate(module: nn.Module, inputs: Any, scores: Tensor) -> Tensor:
            return scores - margins.to(scores.dtype) if module.training else scores

        return layer.register_forward_hook(calibrate)

    def release(self, memo: RemovableHandle) -> None:
        memo.remove()
