"""How good a model is on what a client held out: the run's, or beside it those without the run; and
which classes it confuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import UmbelError
from ..gain import ALONE, EXAMPLES, RUN, UNTOUCHED, told_as
from ..messages import CONFUSION, GAIN, START
from ..paradigms.base import (
    AbsorbsTotal,
    LocalRequest,
    LooksBeside,
    MetricSums,
    Predicts,
    SharesStatistics,
    UpdatesLocally,
)
from ..randomness import torch_generator, torch_seeded
from ..strategies.local_parts import LocalRun, Plain
from ..tensors import Tensors
from ..training import pace
from ..training.trainer import example_count
from .stragglers import in_time
from .workbench import Workbench, Workplace


def load(bench: Workbench, received: Tensors, kept: Tensors) -> None:
    """Put a client's weights into the model; what the server sent wrong, it is told."""
    try:
        bench.load(received, kept)
    except ValueError as error:
        raise UmbelError(str(error)) from error


def answer(
    bench: Workbench,
    place: Workplace,
    round: int,
    asked: Mapping[str, Any],
    groups: Mapping[str, Tensors],
    kept: Tensors,
) -> tuple[MetricSums, dict[str, Tensors]]:
    """Metric sums over the examples held out, and what is told beside them.

    Args:
        bench: in that round.
        place: the client's examples.
        round: the message's.
        asked: its header.
        groups: its tensors.
        kept: what this client kept of the model.
    """
    received = groups.get("model", {})
    if asked.get(GAIN):
        return compare(bench, place, round, (received, kept), groups.get(START, {})), {}
    load(bench, received, kept)
    if asked.get(CONFUSION):
        counts = confusion(bench, place, round)
        return {EXAMPLES: float(counts[:, 2].sum())}, {"statistics": {CONFUSION: counts}}
    return score(bench, place, round), {}


def score(bench: Workbench, place: Workplace, round: int) -> MetricSums:
    """The metric sums of the model as it stands over the examples held out."""
    bench.model.eval()
    seed = bench.experiment.experiment.seed
    with torch_seeded(seed, purpose="evaluate", round=round, client=place.client):
        if isinstance(bench.paradigm, LooksBeside):
            return bench.paradigm.evaluate_beside(bench.model, place.held_out, place.train)
        return bench.paradigm.evaluate(bench.model, place.held_out)


def confusion(bench: Workbench, place: Workplace, round: int) -> Tensor:
    """How many of the examples held out are of one class, and of which class the model as it stands
    tells them to be: (k, 3) of true class, told class and examples, int64, but for those of none.

    Raises UmbelError for a paradigm that tells no classes, or where nothing labelled is held out.
    """
    paradigm, seed = bench.paradigm, bench.experiment.experiment.seed
    if not isinstance(paradigm, Predicts):
        raise UmbelError("this paradigm tells no classes")
    bench.model.eval()
    with torch_seeded(seed, purpose="evaluate", round=round, client=place.client):
        truth, told = paradigm.predictions(bench.model, place.held_out, place.train)
    if not len(truth):
        raise UmbelError(f"{place.client}: no labelled examples held out")
    pairs, counts = torch.stack([truth, told], dim=1).unique(dim=0, return_counts=True)
    return torch.cat([pairs, counts[:, None]], dim=1)


def compare(
    bench: Workbench, place: Workplace, round: int, run: tuple[Tensors, Tensors], start: Tensors
) -> MetricSums:
    """The metric sums of three models over the examples held out, named as `gain.told_as` does:
    the run's, the one that it began with, and that one trained on this client's examples alone.

    Args:
        bench: in the run's last round.
        place: the client's examples.
        round: that round: so many are trained alone.
        run: the run's model: what travelled, and what this client kept.
        start: what travels, as it was before round 1.

    Raises UmbelError where there are no examples for it, or the training alone fails.
    """
    if place.examples == 0 or example_count(place.held_out) == 0:
        lacking = "to train on" if place.examples == 0 else "held out to compare on"
        raise UmbelError(f"{place.client}: no labelled examples {lacking}")
    load(bench, *run)
    sums = {RUN: score(bench, place, round)}
    load(bench, start, {})
    sums[UNTOUCHED] = score(bench, place, round)
    _train_alone(bench, place, round)
    sums[ALONE] = score(bench, place, round)
    return told_as(sums)


def _train_alone(bench: Workbench, place: Workplace, rounds: int) -> None:
    """Train the model as it stands, as a run with this one client would without a strategy: with
    the batches, the optimiser, the effort and the part of the model of each of the run's rounds.

    Of the experiment's generators it takes the same as the run, so that what differs is the
    others' part in it, and not the order of the examples.
    """
    paradigm = bench.paradigm
    seed = bench.experiment.experiment.seed
    trainer = replace(bench.trainer, local=Plain())
    totals: Tensors = {}
    state: Tensors = {}
    for round in range(1, rounds + 1):
        pace.check()
        bench.enter(round)
        generator = torch_generator(seed, purpose="train", round=round, client=place.client)
        if isinstance(paradigm, SharesStatistics):
            paradigm.receive(totals)
        with torch_seeded(seed, purpose="torch", round=round, client=place.client):
            if isinstance(paradigm, UpdatesLocally):
                request = LocalRequest(round, totals, state, generator)
                result = paradigm.local_update(bench.model, place.train, request)
                totals, state = _summed(result.statistics), _copied(result.state)
                if isinstance(paradigm, AbsorbsTotal):
                    paradigm.absorb(bench.model, totals, round)
                    totals = {}
                continue
            optimizer, rate = bench.optimizer(round)
            own = LocalRun(bench.model, {}, {}, {}, round, place.train, rate)
            timed = in_time(trainer, bench.experiment, round, place.client)
            timed.train(place.train, own, optimizer, None, generator)
        if isinstance(paradigm, SharesStatistics):
            totals = _summed(paradigm.statistics(bench.model, place.train))


def _summed(statistics: Tensors) -> Tensors:
    """One client's sums as the server gives those of all back."""
    return _copied({name: value.double() for name, value in statistics.items()})


def _copied(tensors: Tensors) -> Tensors:
    return {name: value.detach().clone() for name, value in tensors.items()}
