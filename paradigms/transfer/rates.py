"""Discriminative learning rates: what is near the input changes less than what is near the head."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from .depth import blocks


def check_decay(decay: float) -> None:
    """Raise ValueError unless a rate times it is a smaller rate, or the same."""
    if not 0 < decay <= 1:
        raise ValueError(f"rate_decay: {decay:g} is not in (0, 1]")


def rates_by_depth(model: nn.Module, decay: float) -> Mapping[str, float]:
    """What each parameter's learning rate is multiplied by: 1 for the head, `decay` for the body's
    last block, `decay^2` for the one before it, and so on; empty where all are 1.

    Paper: Howard and Ruder 2018, Universal Language Model Fine-tuning for Text Classification,
    arXiv 1801.06146, section 3.2, where it is 1 / 2.6.
    """
    if decay == 1:
        return {}
    depth: dict[int, int] = {}
    for place, block in enumerate(reversed(blocks(model.get_submodule("body")))):
        depth |= {id(value): place + 1 for part in block for value in part.parameters()}
    # What is in no block, such as a token that stands for the whole, counts as the input's.
    deepest = max(depth.values(), default=0)
    return {
        name: decay ** depth.get(id(value), deepest if name.startswith("body.") else 0)
        for name, value in model.named_parameters()
    }
