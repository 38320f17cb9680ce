"""Points to start from, spread over all clients' examples: k-means++ by rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadInput
from ...tensors import Tensors
from .summed import label_counts

KEYS, CANDIDATES, EXAMPLES, LABELS = (
    "start.keys",
    "start.candidates",
    "start.examples",
    "start.labels",
)
LEAST_KEY = -1e300
"""Of a client all of whose examples lie on points that were chosen: a finite number, since clients
may send no other."""


@dataclass(frozen=True)
class Start:
    """Chooses so many points in as many rounds as that takes, each with a probability in proportion
    to D^2, its squared distance to the nearest one chosen before; in the first round all examples
    are as likely.

    Paper: Arthur and Vassilvitskii 2007, k-means++: The Advantages of Careful Seeding, SODA,
    section 2.2; with several `at_once` as Bahmani et al. 2012, Scalable K-Means++, arXiv 1203.6402,
    which draws many in each round.

    A client draws an example x with the probability `D^2(x) / sum D^2` over its own, and sends
    `log sum D^2 + G` with G from Gumbel's distribution. The largest of these is the client's with
    the probability `sum D^2 / (all clients' sum D^2)` (Gumbel 1954), so that x is drawn as from all
    examples in one place; and no client's sum is told.

    What is sent of x is the mean of the `group` examples of the client's nearest to it, x among
    them: with 1 it is the method of the paper, and in every round an example of each client leaves.

    Args:
        count: how many points.
        at_once: how many in a round, >= 1.
        group: of how many examples each is the mean, >= 1.
    """

    count: int
    at_once: int = 1
    group: int = 5

    def __post_init__(self) -> None:
        if self.group < 1:
            raise ValueError(f"group: {self.group} is not at least 1")

    @property
    def rounds(self) -> int:
        """How many rounds it takes."""
        return math.ceil(self.count / self.at_once)

    def form(self, stage: int, width: int, classes: int) -> Tensors:
        """What a client sends in the round after `stage` others, for points (width,)."""
        slots = min(self.at_once, self.count - stage * self.at_once)
        form = {KEYS: torch.zeros(slots), CANDIDATES: torch.zeros(slots, width)}
        if stage == 0:
            form |= {EXAMPLES: torch.zeros(()), LABELS: torch.zeros(classes)}
        return {name: value.double() for name, value in form.items()}

    def candidates(
        self, own: Tensor, labels: Tensor, form: Tensors, chosen: Tensor, generator: torch.Generator
    ) -> Tensors:
        """What a client with the points `own` (n, d) sends, given those `chosen` (m, d) before."""
        masses = torch.ones_like(own[:, 0])
        if len(chosen):
            masses = _squared(own, chosen).amin(dim=1)
        slots = len(form[KEYS])
        total = float(masses.sum())
        drawable = masses if total > 0 else torch.ones_like(masses)
        again = int((drawable > 0).sum()) < slots
        drawn = torch.multinomial(drawable, slots, replacement=again, generator=generator)
        uniform = torch.rand(slots, dtype=torch.float64, generator=generator).clamp(min=1e-300)
        keys = math.log(total) - (-uniform.log()).clamp(min=1e-300).log() if total > 0 else None
        sent = {
            KEYS: torch.full((slots,), LEAST_KEY, dtype=own.dtype) if keys is None else keys,
            CANDIDATES: torch.stack([_mean_near(own, own[row], self.group) for row in drawn]),
        }
        if LABELS in form:
            sent[EXAMPLES] = torch.tensor(float(len(own)), dtype=torch.float64)
            sent[LABELS] = label_counts(labels, len(form[LABELS]))
        return sent

    def put(self, points: Tensor, stage: int, total: Tensors) -> None:
        """Put what was chosen in a round into its place among the points (count, d)."""
        begin = stage * self.at_once
        points[begin : begin + len(total[KEYS])] = total[CANDIDATES]


def gather(total: Tensors, more: Tensors) -> None:
    """Take a client's statistics into the total, in place: sums in float64, and of candidates those
    with the largest keys.

    >>> total = {}
    >>> for key, point in ((0.0, 1.0), (2.0, 5.0), (1.0, 7.0)):
    ...     sent = {KEYS: torch.tensor([key]), CANDIDATES: torch.tensor([[point]])}
    ...     gather(total, sent)
    >>> total[CANDIDATES]
    tensor([[5.]], dtype=torch.float64)
    """
    if total and KEYS in more:
        larger = more[KEYS].double() > total[KEYS]
        total[KEYS] = torch.where(larger, more[KEYS].double(), total[KEYS])
        points = torch.where(larger[:, None], more[CANDIDATES].double(), total[CANDIDATES])
        total[CANDIDATES] = points
    for name, value in more.items():
        if name not in total:
            total[name] = value.double().clone()
        elif name not in (KEYS, CANDIDATES):
            total[name] = total[name] + value.double()


def check_enough(examples: float, count: int, key: str) -> None:
    """Raise BadInput where all clients together have fewer examples than there are to be points."""
    if examples < count:
        raise BadInput(
            f"paradigm.{key}: {count} is more than the {examples:g} examples of all clients"
        )


def nearest(own: Tensor, chosen: Tensor) -> Tensor:
    """The place of the nearest of the points (m, d) to each of the own (n, d), (n,)."""
    return _squared(own, chosen).argmin(dim=1)


def _squared(own: Tensor, chosen: Tensor) -> Tensor:
    # The quicker way, by products, loses digits where points lie far from 0.
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cdist(own, chosen, compute_mode=mode).square()


def _mean_near(own: Tensor, point: Tensor, group: int) -> Tensor:
    distances = _squared(own, point[None])[:, 0]
    rows = distances.argsort(stable=True)[:group]
    return own[rows].mean(dim=0)
