"""Which pseudo-labels are sure enough to learn from."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ...data.shard import UNLABELLED
from ...schema import Schema
from ..helpers import add_helper
from .semi import Stand
from .told import Told

NAME = "thresholds"


class Threshold(Protocol):
    """How sure a model must be of an example."""

    def attach(self, model: nn.Module, schema: Schema) -> None:
        """Add to a model what the threshold goes by, if it travels."""
        ...

    def begin(self, stand: Stand, told: Told | None = None) -> None:
        """Look at the received model and the client's examples, and at what is `told` of those
        without a label where that stays for the round."""
        ...

    def chosen(self, stand: Stand, said: Tensor, rows: Tensor) -> Tensor:
        """Which of the predictions `said` (n, classes), probabilities of the examples in `rows`
        (n,), are learnt from, (n,)."""
        ...


class Fixed:
    """The same for every class: a probability of at least `least`.

    Paper: Sohn et al. 2020, FixMatch, arXiv 2001.07685, equation 4.
    """

    def __init__(self, least: float) -> None:
        if not 0 <= least <= 1:
            raise ValueError(f"threshold: {least:g} is not in [0, 1]")
        self._least = least

    def attach(self, model: nn.Module, schema: Schema) -> None:
        return None

    def begin(self, stand: Stand, told: Told | None = None) -> None:
        return None

    def chosen(self, stand: Stand, said: Tensor, rows: Tensor) -> Tensor:
        return said.amax(dim=1) >= self._least


class Margin:
    """The best score is above the second by at least `least`, as a support vector machine's."""

    def __init__(self, least: float) -> None:
        if not least >= 0:
            raise ValueError(f"margin: {least:g} is less than 0")
        self._least = least

    def attach(self, model: nn.Module, schema: Schema) -> None:
        return None

    def begin(self, stand: Stand, told: Told | None = None) -> None:
        return None

    def chosen(self, stand: Stand, said: Tensor, rows: Tensor) -> Tensor:
        best = said.topk(2, dim=1).values
        return best[:, 0] - best[:, 1] >= self._least


class ByLearning:
    """Lower for a class that is learnt less: `T(c) = M(b(c)) least`, with
    `b(c) = s(c) / max(max_c s(c), N - sum_c s(c))`, where s(c) counts the client's N unlabelled
    examples that were last taken for c with at least `least`, and `M(b) = b / (2 - b)`.

    Paper: Zhang et al. 2021, FlexMatch, arXiv 2110.08263, equations 5, 6, 11 and 12. What the
    received model, or the committee, says of all of a client's examples is where a round starts.
    """

    def __init__(self, least: float) -> None:
        self._fixed = Fixed(least)
        self._least = least
        self._last = torch.zeros(0, dtype=torch.int64)
        self._count = 0

    def attach(self, model: nn.Module, schema: Schema) -> None:
        return None

    def begin(self, stand: Stand, told: Told | None = None) -> None:
        self._last = torch.full_like(stand.prepared["y"], UNLABELLED)
        rows = stand.unlabelled
        self._count = len(rows)
        if len(rows):
            said = stand.scores(rows).softmax(dim=1) if told is None else told.mean(rows)
            self._note(said, rows)

    def chosen(self, stand: Stand, said: Tensor, rows: Tensor) -> Tensor:
        limits = self.limits(self._count, said.shape[1])
        top, label = said.max(dim=1)
        self._note(said, rows)
        return top >= limits[label]

    def limits(self, unlabelled: int, classes: int) -> Tensor:
        """The threshold of each class, (classes,)."""
        learnt = one_hot(self._last[self._last >= 0], classes).sum(dim=0).float()
        most = max(float(learnt.max()), unlabelled - float(learnt.sum()), 1.0)
        share = learnt / most
        return share / (2 - share) * self._least

    def _note(self, said: Tensor, rows: Tensor) -> None:
        top, label = said.max(dim=1)
        sure = top >= self._least
        self._last[rows[sure]] = label[sure]


class Adaptive(nn.Module):
    """What a self-adaptive threshold goes by, running means over all clients' batches."""

    level: Tensor
    share: Tensor
    histogram: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("level", torch.tensor(1 / classes))
        self.register_buffer("share", torch.full((classes,), 1 / classes))
        self.register_buffer("histogram", torch.full((classes,), 1 / classes))


class SelfAdaptive:
    """`T(c) = p(c) / max p * t`: t the running mean of how sure the model is, p that of what it
    says. Both travel with the model, so that they are the federation's.

    Paper: Wang et al. 2023, FreeMatch, arXiv 2205.07246, equations 5 to 8.

    Args:
        momentum: of the running means, in [0, 1).
    """

    def __init__(self, momentum: float) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum: {momentum:g} is not in [0, 1)")
        self._momentum = momentum

    def attach(self, model: nn.Module, schema: Schema) -> None:
        add_helper(model, NAME, Adaptive(len(schema.classes)), NAME)

    def begin(self, stand: Stand, told: Told | None = None) -> None:
        return None

    def chosen(self, stand: Stand, said: Tensor, rows: Tensor) -> Tensor:
        known = adaptive(stand.model)
        top, label = said.max(dim=1)
        classes = said.shape[1]
        with torch.no_grad():
            new = 1 - self._momentum
            known.level.lerp_(top.mean(), new)
            known.share.lerp_(said.mean(dim=0), new)
            known.histogram.lerp_(one_hot(label, classes).float().mean(dim=0), new)
        return top >= known.share[label] / known.share.max() * known.level


def adaptive(model: nn.Module) -> Adaptive:
    """A model's running means."""
    found = model.get_submodule(NAME)
    if not isinstance(found, Adaptive):
        raise TypeError(f"the model's {NAME} are {type(found).__name__}")
    return found
