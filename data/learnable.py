"""Whether a divided data set holds anything to learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import registry
from ..errors import BadInput
from .rows import EDGES, TARGET, Arrays, is_graph
from .shard import UNLABELLED, Dataset, divided_rows

if TYPE_CHECKING:
    from ..experiment import Experiment
    from ..sections import DataSection
    from .sharding import PartitionedShards

LABELLED, LINKED = "labelled examples", "edges"
"""What a paradigm's `learns_from` may say that a client trains on."""

LOOKED_AT_ONCE = 1000
"""The largest population of which every client is looked at before a run."""


def check_learnable(experiment: Experiment, shards: PartitionedShards) -> None:
    """Raise BadInput where no client has what the paradigm learns from, labels or edges; of a
    population too large to be looked at, where the whole data set has none. Or where the paradigm
    is for some examples without a label and there are none."""
    from ..paradigms.catalogue import SEMI_SUPERVISED

    data, name = experiment.data, experiment.paradigm.name
    train, hides = shards.dataset.train, shards.hiding.hides
    if name in SEMI_SUPERVISED and not _any_unlabelled(shards):
        raise BadInput(
            f"paradigm.name: {name} learns from examples without a label, and all of these have "
            f"one; hide {'more' if hides else 'some'} (data.labels, data.labelled), or take "
            "supervised"
        )
    learns_from = getattr(registry.resolve("paradigm", name), "learns_from", "")
    if learns_from == LINKED:
        if is_graph(train) and not _any_edge(shards):
            raise BadInput(_lacking(shards.dataset, LINKED, name))
        return
    # A server with labels of its own lets clients learn from examples that have none.
    beside = hides or name in SEMI_SUPERVISED
    if learns_from != LABELLED and (data.server_has_examples or not beside):
        return
    if not _any_label(shards):
        if hides and _known(train).any():
            raise BadInput(_hidden(data, name))
        raise BadInput(_lacking(shards.dataset, LABELLED, name))


def _hidden(data: DataSection, paradigm: str) -> str:
    """What to tell where labels that there are were hidden from all clients."""
    if data.labels_at == "server":
        return unlearnable(paradigm)
    key = "labelled_clients" if data.labelled > 0 else "labelled"
    return f"data.{key}: no client has a label; raise it, or set data.labels in its place"


def unlearnable(paradigm: str) -> str:
    """What to tell of a paradigm that learns from labels alone, where the server has them all."""
    return (
        f"paradigm.name: {paradigm} learns from labels, and clients have none: the server has all "
        "(data.labels_at); take one that learns without, such as semifl or fixmatch, or labels_at "
        '= "clients"'
    )


def _lacking(dataset: Dataset, what: str, paradigm: str) -> str:
    if what == LINKED:
        mend = "give it some, or divide it otherwise (data.partition)"
        mend = mend if len(dataset.train[EDGES]) else "give it some, or take nodes"
    elif _known(dataset.train).any():
        mend = "label some that are not held out"
    else:
        mend = "label some, or name the labels (data.label)"
    return (
        f"data.source: {dataset.name}: no client has {what} to train on, which {paradigm} learns "
        f"from; {mend}"
    )


def _known(train: Arrays) -> np.ndarray:
    """Which examples (n,) have a label, or a number."""
    if TARGET in train:
        return np.isfinite(train[TARGET])
    return np.asarray(train["y"] != UNLABELLED)


def _any_unlabelled(shards: PartitionedShards) -> bool:
    if not shards.hiding.hides:
        return bool((shards.dataset.train["y"] == UNLABELLED).any())
    if len(shards) > LOOKED_AT_ONCE:
        return True
    return any((shards.labels(k) == UNLABELLED).any() for k in range(len(shards)))


def _any_label(shards: PartitionedShards) -> bool:
    train = shards.dataset.train
    if len(shards) > LOOKED_AT_ONCE:
        return shards.hiding.hides or bool(_known(train).any())
    if TARGET not in train:
        return any((shards.labels(k) != UNLABELLED).any() for k in range(len(shards)))
    return any(_trained_numbers(shards, k) for k in range(len(shards)))


def _trained_numbers(shards: PartitionedShards, index: int) -> bool:
    """Whether a client has a number to train on."""
    shard = shards.shard(index)
    rows, _ = divided_rows(shard.arrays, shards.held_out, shards.seed, shard.client)
    return bool(_known(shard.arrays)[rows].any())


def _any_edge(shards: PartitionedShards) -> bool:
    edges = shards.dataset.train[EDGES]
    if not len(edges) or len(shards) > LOOKED_AT_ONCE:
        return bool(len(edges))
    return any(len(shards.shard(k).arrays[EDGES]) for k in range(len(shards)))
