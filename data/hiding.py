"""Which examples keep their labels, where a study hides the others'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput
from ..randomness import numpy_generator
from .rows import ROLE, TRAIN, taken
from .shard import UNLABELLED, Dataset

if TYPE_CHECKING:
    from ..experiment import Experiment


@dataclass(frozen=True)
class Hiding:
    """Which labels of a client's training examples are kept.

    Args:
        share: of those of each client, evenly by class.
        rows: of the data set, whose labels are kept whatever the share; None where no such are
            chosen.
        clients: that keep any; None for all.
    """

    share: float = 1.0
    rows: np.ndarray | None = None
    clients: frozenset[int] | None = None

    @property
    def hides(self) -> bool:
        return self.share < 1 or self.rows is not None or self.clients is not None

    def kept(
        self, client: int, labels: np.ndarray, places: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """A client's labels (n,), -1 for what it is not shown; `places` (n,) are its examples'
        rows in the data set."""
        if self.clients is not None and client not in self.clients:
            return np.full_like(labels, UNLABELLED)
        if self.rows is not None:
            return np.where(np.isin(places, self.rows), labels, UNLABELLED)
        return keep_labels(labels, self.share, rng)


def with_labels(experiment: Experiment) -> frozenset[int] | None:
    """The clients that keep labels by `data.labelled_clients`, at least one; None for all."""
    data = experiment.data
    if data.labelled_clients == 1:
        return None
    generator = numpy_generator(experiment.experiment.seed, purpose="labelled clients")
    count = max(1, round(data.labelled_clients * data.clients))
    return frozenset(generator.permutation(data.clients)[:count].tolist())


def labelled_rows(
    experiment: Experiment, dataset: Dataset, count: int, trained: np.ndarray | None = None
) -> np.ndarray:
    """The `count` rows of the training part that keep their labels, ascending: as many of each
    class, so far as it has them.

    `trained` (n,) says of which rows labels would be of use, those that some client trains on;
    None for all. Raises BadInput where there are fewer labels.
    """
    labels = dataset.train["y"]
    if ROLE in dataset.train:
        labels = np.where(dataset.train[ROLE] == TRAIN, labels, UNLABELLED)
    if trained is not None:
        labels = np.where(trained, labels, UNLABELLED)
    known = int((labels != UNLABELLED).sum())
    if count > known:
        which = "" if trained is None else " that clients train on"
        raise BadInput(
            f"data.labels: {count} is more than the {known} labels of {dataset.name}{which}; "
            "set fewer"
        )
    generator = numpy_generator(experiment.experiment.seed, purpose="labels")
    by_class = [
        generator.permutation(np.flatnonzero(labels == code))
        for code in range(len(dataset.schema.classes))
    ]
    # A turn for each class, in an order of the seed's, so that what does not divide is no class's.
    order = generator.permutation(len(by_class))
    turns = [(turn, place, code) for place, code in enumerate(order) for turn in
             range(len(by_class[code]))]  # fmt: skip
    chosen = [by_class[code][turn] for turn, _, code in sorted(turns)[:count]]
    return np.sort(np.array(chosen, np.int64))


def without(dataset: Dataset, rows: np.ndarray) -> Dataset:
    """A data set whose training part lacks some rows."""
    left = np.delete(np.arange(len(dataset.train["y"])), rows)
    train = taken(dataset.train, left)
    groups = None if dataset.groups is None else dataset.groups[left]
    return Dataset(dataset.name, dataset.schema, train, dataset.test, groups)


def keep_labels(labels: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Keep the labels of a share of the examples, evenly by class; the others become -1.

    Keeps round(share * labelled examples), but at least one where share > 0; classes get
    their part rounded down, and what is left goes to the largest remainders.

    >>> rng = np.random.default_rng(0)
    >>> kept = keep_labels(np.array([0] * 8 + [1] * 4), 0.25, rng)
    >>> [int((kept == code).sum()) for code in (0, 1, -1)]
    [2, 1, 9]
    """
    codes, counts = np.unique(labels[labels != UNLABELLED], return_counts=True)
    kept = np.full_like(labels, UNLABELLED)
    if share <= 0 or len(codes) == 0:
        return kept
    total = max(1, round(share * int(counts.sum())))
    quota = np.floor(share * counts).astype(int)
    remainder = share * counts - quota
    # A random order breaks ties between equal remainders, so no class is favoured.
    tie_break = rng.permutation(len(codes))
    for position in sorted(range(len(codes)), key=lambda p: (-remainder[p], tie_break[p])):
        if quota.sum() < total and quota[position] < counts[position]:
            quota[position] += 1
    for code, amount in zip(codes, quota, strict=True):
        chosen = rng.permutation(np.flatnonzero(labels == code))[:amount]
        kept[chosen] = code
    return kept
