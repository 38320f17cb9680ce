"""Examples of which some have a label, as tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from ...data.shard import TRUTH, UNLABELLED, Shard
from ..base import MetricSums, Prepared
from ..supervised import Supervised


class Truths:
    """Makes tensors of shards with all their examples, and holds apart from those what is known of
    the hidden labels: it counts right pseudo-labels, and nothing that learns is given it."""

    def __init__(self) -> None:
        self._known = WeakTensorKeyDictionary()

    def prepare(self, shard: Shard, inputs: Tensor) -> Prepared:
        """All of a shard's examples: `x` (n, ...) as a model takes them, and `y` (n,) with -1 for
        no label."""
        labels = torch.tensor(shard.arrays["y"], dtype=torch.int64)
        if TRUTH in shard.arrays:
            self._known[labels] = torch.tensor(shard.arrays[TRUTH], dtype=torch.int64)
        return {"x": inputs, "y": labels}

    def of(self, prepared: Prepared) -> Tensor | None:
        """The true classes (n,) of the examples of a shard that was prepared here, if known."""
        found: Tensor | None = self._known.get(prepared["y"])
        return found


def evaluate_labelled(supervised: Supervised, model: nn.Module, prepared: Prepared) -> MetricSums:
    """Metric sums over the examples that have a label."""
    return supervised.evaluate(model, labelled(prepared))


def labelled(prepared: Prepared) -> Prepared:
    """The examples `x` (n, ...) and `y` (n,) that have a label."""
    known = prepared["y"] != UNLABELLED
    return {name: prepared[name][known] for name in ("x", "y")}


def pseudo_label_counts(kept: Tensor, labels: Tensor, truth: Tensor | None) -> dict[str, Tensor]:
    """How many pseudo-labels were `kept` (n,) and, where the truth (n,) is known, of how many of
    these `labels` (n,), which are judged by it, and how many of those were right.

    >>> kept, truth = torch.tensor([True, True, True, False]), torch.tensor([1, 0, -1, 1])
    >>> pseudo_label_counts(kept, torch.tensor([1, 1, 1, 1]), truth)
    {'kept_count': tensor(3), 'judged_count': tensor(2), 'right_count': tensor(1)}
    """
    counts = {"kept_count": kept.sum()}
    if truth is not None:
        judged = kept & (truth != UNLABELLED)
        counts |= {"judged_count": judged.sum(), "right_count": (judged & (labels == truth)).sum()}
    return counts
