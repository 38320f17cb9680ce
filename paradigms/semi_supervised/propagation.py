"""Labels that spread over each client's graph of neighbours, and from client to client over anchors
that are in all of these graphs."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ...data.shard import UNLABELLED
from ...schema import Schema
from ...tensors import Tensors, difference
from ..base import LocalRequest, LocalResult, MetricSums, Prepared
from .examples import pseudo_label_counts
from .graph import Graph, Numbers, Rule
from .neighbours import Neighbours, distributions
from .start import EXAMPLES, LABELS, Start, check_enough, gather
from .summed import (
    PROGRESS,
    Models,
    Progress,
    Summed,
    check_numbers,
    label_counts,
    points,
    stage_of,
    unlabelled_classes,
)

DEGREES, REACHED = "anchors.degrees", "anchors.labels"

AT_ONCE = 10
"""So many anchors are chosen in a round."""


class OverGraphs(Summed):
    """A rule by which labels spread, over the sum of all clients' graphs.

    Each client's graph has its own examples and the anchors; an edge between two clients' examples
    there is none. A client spreads labels over its own until they move no more, the anchors' being
    as they came, and sends what comes to the anchors; the server makes their labels of the totals.
    Labels that no longer change in a round are those of the rule over the one graph that has all
    clients' examples and, once, the anchors, and whose edges are all of theirs.
    """

    def __init__(
        self, models: Models, rule: Rule, *, anchors: int, neighbours: int, group: int
    ) -> None:
        if anchors < 0:
            raise ValueError(f"anchors: {anchors} is less than 0")
        if neighbours < 1:
            raise ValueError(f"neighbours: {neighbours} is not at least 1")
        super().__init__(models)
        self._rule, self._neighbours = rule, neighbours
        self._start = Start(anchors, at_once=AT_ONCE, group=group)
        self._classes: tuple[str, ...] = ()

    def build(self, schema: Schema) -> nn.Module:
        check_numbers(schema, "a graph of neighbours")
        self._classes = schema.classes
        count, width = self._start.count, math.prod(schema.shape)
        model = Neighbours(count, width, len(schema.classes), self._neighbours)
        progress = Progress()
        progress.register_buffer("degrees", torch.zeros(count, dtype=torch.float64))
        model.add_module(PROGRESS, progress)
        return model

    def local_update(
        self, model: nn.Module, prepared: Prepared, request: LocalRequest
    ) -> LocalResult:
        anchors, own, labels = cast("Neighbours", model), points(prepared["x"]), prepared["y"]
        stage, form = int(stage_of(model)), self._form(anchors)
        metrics: MetricSums = {"examples": float(len(own))}
        if stage < self._start.rounds:
            chosen = anchors.points[: stage * AT_ONCE]
            sent = self._start.candidates(own, labels, form, chosen, request.generator)
            return LocalResult(len(own), metrics, sent)
        graph = self._graph(anchors, own)
        if stage == self._start.rounds:
            sent = {DEGREES: torch.tensor(graph.degrees[len(own) :])}
            if LABELS in form:
                sent[LABELS] = label_counts(labels, len(self._classes))
            return LocalResult(len(own), metrics, sent)
        found = self._spread(anchors, graph, labels)
        boundary, degrees = anchors.labels.numpy(), _degrees(model)
        reached = graph.at_anchors(found, self._rule, boundary, degrees)
        metrics |= _counted(torch.tensor(found), prepared, self._truths.of(prepared))
        return LocalResult(len(own), metrics, {REACHED: torch.tensor(reached)})

    def spread(self, model: nn.Module, prepared: Prepared) -> Tensor:
        """Class distributions (n, classes) of a client's examples, given the anchors'; rows of
        zeros where no label reaches."""
        anchors = cast("Neighbours", model)
        graph = self._graph(anchors, points(prepared["x"]))
        return distributions(torch.tensor(self._spread(anchors, graph, prepared["y"])))

    def evaluate_beside(
        self, model: nn.Module, prepared: Prepared, training: Prepared
    ) -> MetricSums:
        """New examples are judged by the nearest of the client's own and the anchors."""
        return self.evaluate(self._beside(model, training), prepared)

    def predictions(
        self, model: nn.Module, prepared: Prepared, training: Prepared | None
    ) -> tuple[Tensor, Tensor]:
        judge = model if training is None else self._beside(model, training)
        return super().predictions(judge, prepared, training)

    def _beside(self, model: nn.Module, training: Prepared) -> Neighbours:
        """The anchors and a client's own examples, with the labels that spread to these."""
        anchors, own = cast("Neighbours", model), points(training["x"])
        there, width = self._placed(anchors), own.shape[1]
        beside = Neighbours(len(own) + there, width, len(self._classes), self._neighbours)
        beside.points.copy_(torch.cat([own, anchors.points[:there]]))
        spread = self.spread(model, training) if len(own) else anchors.labels[:0]
        beside.labels.copy_(torch.cat([spread, anchors.labels[:there]]))
        return beside

    def least_rounds(self, model: nn.Module) -> int:
        return self._start.rounds + 2

    def fault(self, model: nn.Module, statistics: Tensors) -> str:
        found = difference(statistics, self._form(cast("Neighbours", model)))
        if found:
            return found
        counted = (DEGREES, REACHED, EXAMPLES, LABELS)
        negative = [n for n in counted if n in statistics and bool((statistics[n] < 0).any())]
        return f"{negative[0]} holds numbers below 0" if negative else ""

    def gather(self, total: Tensors, more: Tensors) -> None:
        gather(total, more)

    def absorb(self, model: nn.Module, total: Tensors, round: int) -> str:
        anchors, stage = cast("Neighbours", model), int(stage_of(model))
        if EXAMPLES in total:
            check_enough(float(total[EXAMPLES].round()), self._start.count, "anchors")
        if stage < self._start.rounds:
            self._start.put(anchors.points, stage, total)
        elif stage == self._start.rounds:
            cast("Any", model.get_submodule(PROGRESS)).degrees.copy_(total[DEGREES])
        else:
            alpha, reached = self._rule.alpha, total[REACHED]
            anchors.labels.copy_(distributions(reached) if alpha is None else alpha * reached)
        stage_of(model).fill_(min(stage + 1, self._start.rounds + 1))
        return unlabelled_classes(total[LABELS], self._classes) if LABELS in total else ""

    def _form(self, anchors: Neighbours) -> Tensors:
        stage, (count, width) = int(stage_of(anchors)), anchors.points.shape
        if stage < self._start.rounds:
            return self._start.form(stage, width, len(self._classes))
        if stage > self._start.rounds:
            return {REACHED: anchors.labels}
        degrees = torch.zeros(count, dtype=torch.float64)
        first = {LABELS: torch.zeros(len(self._classes), dtype=torch.float64)}
        return {DEGREES: degrees} | (first if stage == 0 else {})

    def _placed(self, anchors: Neighbours) -> int:
        """How many anchors there are: none before the last of them was chosen."""
        return self._start.count if int(stage_of(anchors)) >= self._start.rounds else 0

    def _graph(self, anchors: Neighbours, own: Tensor) -> Graph:
        placed = anchors.points[: self._placed(anchors)]
        return Graph.of(own.numpy(), placed.numpy(), self._neighbours)

    def _spread(self, anchors: Neighbours, graph: Graph, labels: Tensor) -> Numbers:
        given = np.zeros((len(labels), len(self._classes)))
        known = labels != UNLABELLED
        given[known.numpy()] = one_hot(labels[known], len(self._classes)).numpy()
        boundary = anchors.labels[: graph.anchors].numpy()
        return graph.spread(given, self._rule, boundary, _degrees(anchors)[: graph.anchors])


class LabelPropagation(OverGraphs):
    """Each example takes the mean of its neighbours' labels, until they stay; those that have a
    label keep it.

    Paper: Zhu and Ghahramani 2002, Learning from Labeled and Unlabeled Data with Label Propagation,
    CMU-CALD-02-107.

    Args:
        neighbours: how many an example has, itself counted, >= 1.
        anchors: how many points are in all clients' graphs; with 0 each client is for itself.
        group: an anchor is the mean of so many examples, >= 1.
        iterations: the most that a client makes in a round, >= 1.
        tolerance: it makes no more once all changes add up to less, >= 0.
    """

    def __init__(
        self,
        models: Models,
        *,
        neighbours: int = 7,
        anchors: int = 50,
        group: int = 5,
        iterations: int = 1000,
        tolerance: float = 1e-3,
    ) -> None:
        rule = Rule(None, iterations, tolerance)
        super().__init__(models, rule, anchors=anchors, neighbours=neighbours, group=group)


class LabelSpreading(OverGraphs):
    """As `label-propagation`, with what is given up of a label to what the neighbours say, and an
    example counting less the more have it for a neighbour.

    Paper: Zhou et al. 2004, Learning with Local and Global Consistency, NIPS 16.

    Args:
        alpha: what of an example's labels comes from its neighbours, in (0, 1).
        neighbours: how many an example has, itself counted, >= 1.
        anchors: how many points are in all clients' graphs; with 0 each client is for itself.
        group: an anchor is the mean of so many examples, >= 1.
        iterations: the most that a client makes in a round, >= 1.
        tolerance: it makes no more once all changes add up to less, >= 0.
    """

    def __init__(
        self,
        models: Models,
        *,
        alpha: float = 0.2,
        neighbours: int = 7,
        anchors: int = 50,
        group: int = 5,
        iterations: int = 1000,
        tolerance: float = 1e-3,
    ) -> None:
        rule = Rule(alpha, iterations, tolerance)
        super().__init__(models, rule, anchors=anchors, neighbours=neighbours, group=group)


def _degrees(model: nn.Module) -> Numbers:
    found: Numbers = cast("Any", model.get_submodule(PROGRESS)).degrees.numpy()
    return found


def _counted(found: Tensor, prepared: Prepared, truth: Tensor | None) -> MetricSums:
    """Of how many examples without a label one was found and, where the truth is known, how many
    of these were right."""
    hidden = prepared["y"] == UNLABELLED
    reached = hidden & found.any(dim=1)
    counts = pseudo_label_counts(reached, found.argmax(dim=1), truth)
    told = {name: float(count) for name, count in counts.items()}
    return {"unlabelled_count": float(hidden.sum()), **told}
