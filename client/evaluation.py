"""How good a model is on what a client held out: the run's, or beside it those without the run."""

from __future__ import annotations

from dataclasses import replace

from ..errors import UmbelError
from ..gain import ALONE, RUN, UNTOUCHED, told_as
from ..paradigms.base import (
    AbsorbsTotal,
    LocalRequest,
    LooksBeside,
    MetricSums,
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


def score(bench: Workbench, place: Workplace, round: int) -> MetricSums:
    """The metric sums of the model as it stands over the examples held out."""
    bench.model.eval()
    seed = bench.experiment.experiment.seed
    with torch_seeded(seed, purpose="evaluate", round=round, client=place.client):
        if isinstance(bench.paradigm, LooksBeside):
            return bench.paradigm.evaluate_beside(bench.model, place.held_out, place.train)
        return bench.paradigm.evaluate(bench.model, place.held_out)


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
