"""A data set divided among clients: the `ShardSource` of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from .. import registry
from ..errors import BadInput
from ..randomness import numpy_generator
from ..schema import Schema
from .boundary import beyond
from .hiding import Hiding, labelled_rows, with_labels, without
from .loading import load_dataset
from .pool import Overlapping, Partition, Pool
from .rows import COUNTS, EDGES, ROLE, TARGET, TEST, is_graph, parted, taken
from .shard import TRUTH, UNLABELLED, Dataset, Shard, divided_rows

if TYPE_CHECKING:
    from ..experiment import Experiment

Arrays: TypeAlias = Mapping[str, np.ndarray]
Indices: TypeAlias = np.ndarray


@dataclass(frozen=True)
class PartitionedShards:
    """The shards of a divided data set, each copied out of it only when asked for."""

    dataset: Dataset
    partition: Partition
    clients: int
    seed: int
    hiding: Hiding = field(default_factory=Hiding)
    held_out: float = 0.0

    @property
    def schema(self) -> Schema:
        return self.dataset.schema

    def __len__(self) -> int:
        return self.clients

    def name(self, index: int) -> str:
        return f"client-{index}"

    def shard(self, index: int) -> Shard:
        """The shard of one client; raises IndexError outside the population."""
        if not 0 <= index < self.clients:
            raise IndexError(f"client {index} of {self.clients}")
        chosen = self.partition(index)
        train = self.dataset.train
        arrays = taken(train, chosen)
        if is_graph(train) and not isinstance(self.partition, Overlapping):
            arrays |= beyond(train[EDGES], np.asarray(chosen), len(train["y"]))
        if self.hiding.hides:
            arrays |= {TRUTH: arrays["y"], "y": self.codes(index)}
        return Shard(client=self.name(index), schema=self.schema, arrays=arrays)

    def labels(self, index: int) -> np.ndarray:
        """The label codes that one client trains on, -1 where it has none."""
        return self._shown(index, self.partition(index))[1]

    def codes(self, index: int) -> np.ndarray:
        """The label codes (n,) of all of one client's examples, -1 where it is shown none."""
        chosen = self.partition(index)
        found = self.dataset.train["y"][chosen].copy()
        if self.hiding.hides:
            rows, labels = self._shown(index, chosen)
            found[rows] = labels
        return found

    def trained(self) -> np.ndarray:
        """Which examples of the data set's training part (n,) some client trains on."""
        found = np.zeros(len(self.dataset.train["y"]), np.bool_)
        for index in range(len(self)):
            chosen = self.partition(index)
            found[chosen[self._rows(index, chosen)]] = True
            if found.all():  # Of a large population that draws them again, most tell nothing new.
                break
        return found

    def _rows(self, index: int, chosen: Indices) -> list[int]:
        """Which of a client's examples it trains on."""
        train = self.dataset.train
        own = {key: train[key][chosen] for key in ("y", ROLE) if key in train}
        return divided_rows(own, self.held_out, self.seed, self.name(index))[0]

    def _shown(self, index: int, chosen: Indices) -> tuple[list[int], Indices]:
        """A client's training rows and the labels it has for them. What it holds out keeps its
        labels: it is for evaluation only."""
        rows = self._rows(index, chosen)
        places = chosen[rows]
        truth = self.dataset.train["y"][places]
        if not self.hiding.hides:
            return rows, truth
        rng = numpy_generator(self.seed, purpose="labelled", client=self.name(index))
        return rows, self.hiding.kept(index, truth, places, rng)


def make_shards(experiment: Experiment, dataset: Dataset | None = None) -> PartitionedShards:
    """Divide the experiment's data among its clients, as its seed says.

    `dataset` saves loading it again where the caller has it. Raises BadInput where the data
    cannot be read or divided so.
    """
    data, seed = experiment.data, experiment.experiment.seed
    if dataset is None:
        dataset = load_dataset(data.source, label=data.label)
    hides = data.labels is not None or data.labelled < 1 or data.labelled_clients < 1
    if hides and TARGET in dataset.train:
        raise BadInput(
            f"data.labelled: labels are hidden by class, and {dataset.name} has numbers; leave out "
            "labelled, labelled_clients and labels"
        )
    if data.labels is not None and data.labels_at == "server":
        dataset = without(dataset, labelled_rows(experiment, dataset, data.labels))
    labels = dataset.train["y"]
    classes = len(dataset.schema.classes)
    outside = np.flatnonzero((labels < UNLABELLED) | (labels >= classes))
    if len(outside):
        raise BadInput(
            f"data.source: {dataset.name}: row {outside[0] + 1}: label {labels[outside[0]]} is "
            f"outside the {classes} classes; valid: 0 to {classes - 1}, or -1 for no label"
        )
    pool = Pool(
        labels=labels,
        clients=data.clients,
        seed=seed,
        classes=classes,
        groups=dataset.groups,
        edges=dataset.train[EDGES] if is_graph(dataset.train) else None,
        names=dataset.schema.classes,
    )
    partition: Partition = registry.build(
        "partitioner", data.partition.name, data.partition.parameters, pool
    )
    shards = PartitionedShards(
        dataset=dataset,
        partition=partition,
        clients=data.clients,
        seed=seed,
        held_out=data.held_out,
    )
    return replace(shards, hiding=_hiding(experiment, shards))


def _hiding(experiment: Experiment, shards: PartitionedShards) -> Hiding:
    """Which labels the clients keep."""
    data, rows = experiment.data, None
    if data.labels is not None and data.labels_at == "server":
        rows = np.zeros(0, np.int64)
    elif data.labels is not None:
        rows = labelled_rows(experiment, shards.dataset, data.labels, shards.trained())
    return Hiding(data.labelled, rows, with_labels(experiment))


def central_test(
    experiment: Experiment, dataset: Dataset
) -> tuple[Schema, Mapping[str, np.ndarray]] | None:
    """The test set that the server may have: `data.test`, else the data's own test part.

    A `data.test` that has a test part gives that, else all of its examples; its labels are
    coded by the classes of `dataset`. None where there is neither.
    """
    data = experiment.data
    if data.test is None:
        return None if dataset.test is None else (dataset.schema, dataset.test)
    held = _fitting("data.test", data.test, experiment, dataset.schema)
    return held.schema, tested(held.train) if held.test is None else held.test


def tested(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """All examples, for testing: of a graph whose nodes have roles, those that have this one."""
    if not (is_graph(arrays) and ROLE in arrays):
        return arrays
    return {**arrays, COUNTS: arrays[ROLE] == TEST}


def server_examples(experiment: Experiment, dataset: Dataset) -> tuple[Shard | None, Shard | None]:
    """The server's test set and its own examples (`data.server`), None for what it has not.

    A number of its own is drawn from the test set by the seed, and leaves it; of a source it has
    the training part. Raises BadInput where the test set does not hold more, or where the
    source's examples are unlike the clients'.
    """
    data, own = experiment.data, experiment.data.server
    found = central_test(experiment, dataset)
    test = None if found is None else Shard("server", *found)
    if data.labels is not None and data.labels_at == "server":
        rows = labelled_rows(experiment, dataset, data.labels)
        return test, _rows(Shard("server", dataset.schema, dataset.train), rows)
    if own is None:
        return test, None
    if isinstance(own, str):
        held = _fitting("data.server", own, experiment, dataset.schema)
        return test, Shard("server", held.schema, held.train)
    if test is None:
        raise BadInput(
            f"data.server: {own} examples would come from a test set, and there is none; set "
            "data.test, or give data.server a source"
        )
    rows = np.arange(len(test))
    if COUNTS in test.arrays:
        rows = np.flatnonzero(test.arrays[COUNTS])
    if own >= len(rows):
        raise BadInput(f"data.server: {own} is not less than the {len(rows)} of the test set")
    order = numpy_generator(experiment.experiment.seed, purpose="server").permutation(len(rows))
    parts = (np.sort(rows[chosen]).tolist() for chosen in (order[own:], order[:own]))
    rest, mine = (replace(test, arrays=arrays) for arrays in parted(test.arrays, *parts))
    return rest, mine


def auxiliary_examples(experiment: Experiment, schema: Schema, count: int) -> Shard:
    """So many labelled examples of `data.auxiliary`'s training part, drawn by the seed.

    Raises BadInput where it is missing, unlike what `schema` says, or holds fewer.
    """
    source = experiment.data.auxiliary
    if source is None:
        raise BadInput("data.auxiliary: missing; this paradigm learns from its examples, too")
    held = _fitting("data.auxiliary", source, experiment, schema)
    labelled = np.flatnonzero(held.train["y"] != UNLABELLED)
    if len(labelled) < count:
        raise BadInput(
            f"data.auxiliary: {source} has {len(labelled)} labelled examples; set "
            f"paradigm.examples to as many, or fewer (it is {count})"
        )
    generator = numpy_generator(experiment.experiment.seed, purpose="auxiliary")
    drawn = generator.permutation(len(labelled))[:count]
    return _rows(Shard("auxiliary", held.schema, held.train), labelled[drawn])


def _rows(shard: Shard, rows: np.ndarray) -> Shard:
    chosen = np.sort(rows)
    arrays = taken(shard.arrays, chosen)
    return Shard(shard.client, shard.schema, arrays)


def _fitting(key: str, source: str, experiment: Experiment, schema: Schema) -> Dataset:
    """A data set labelled by the classes of a schema; raises BadInput where its examples are
    unlike those that it describes."""
    data = experiment.data
    held = load_dataset(source, label=data.label, classes=schema.classes)
    faults = held.schema.differences(schema)
    if faults:
        raise BadInput(f"{key}: {source} does not fit {data.source}: {'; '.join(faults)}")
    return held
