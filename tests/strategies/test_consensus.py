"""RSCFed's consensus of random groups."""

from __future__ import annotations

import math

import pytest
import torch

from umbel.strategies.consensus import SubConsensus
from umbel.strategies.parts import Update


def combined(rule, updates):
    state = rule.init({"w": torch.zeros(1)})
    for update in updates:
        state = rule.fold(state, update)
    return rule.finish(state)["w"].item()


def updates(values, examples):
    return [
        Update(f"client-{k}", {"w": torch.tensor([v])}, n)
        for k, (v, n) in enumerate(zip(values, examples, strict=True))
    ]


def test_a_group_of_all_by_hand():
    """The mean by examples is 2; distances over examples then weigh anew."""
    found = combined(SubConsensus(groups=1, size=9, beta=3.0), updates([0.0, 3.0], [1, 2]))
    first, second = 1 * math.exp(-3 * 2 / 1), 2 * math.exp(-3 * 1 / 2)
    assert found == pytest.approx(3 * second / (first + second), rel=1e-6)


def test_without_distances_and_with_whole_groups_it_is_the_mean_by_examples():
    rule = SubConsensus(groups=4, size=9, beta=0.0)
    assert combined(rule, updates([1.0, 2.0, 7.0], [1, 2, 1])) == pytest.approx(3.0)


def test_groups_are_drawn_anew_in_each_round_and_alike_in_each_run():
    cohort = updates([1.0, 2.0, 4.0, 8.0, 16.0, 32.0], [5] * 6)
    rule = SubConsensus(groups=2, size=2, beta=0.0)
    found = [combined(rule.in_round(r, {}), cohort) for r in (1, 2, 3, 1)]
    assert found[0] == found[3] and len(set(found)) == 3
    assert combined(SubConsensus(2, 2, 0.0, seed=1), cohort) != found[0]


def test_who_is_far_away_counts_for_nothing():
    cohort = updates([1.0, 1.0001, 0.9999, 500.0], [100, 100, 100, 10])
    assert combined(SubConsensus(1, 4, 1e4), cohort) == pytest.approx(1.0, abs=1e-3)


def test_distances_are_over_what_training_moves():
    """A tensor that is not trained is combined by the same shares, and counts in no distance."""

    def update(client, weight, running, n):
        tensors = {"w": weight, "bn.running_var": running, "teacher.w": 9 * running}
        return Update(client, {name: torch.tensor([v]) for name, v in tensors.items()}, n)

    cohort = [update("a", 0.0, 50.0, 1), update("b", 3.0, 1.0, 2)]
    rule = SubConsensus(groups=1, size=2, beta=3.0).among(frozenset({"w"}))
    state = rule.init(dict(cohort[0].tensors))
    for one in cohort:
        state = rule.fold(state, one)
    found = rule.finish(state)
    first, second = 1 * math.exp(-3 * 2 / 1), 2 * math.exp(-3 * 1 / 2)
    share = second / (first + second)
    assert found["w"].item() == pytest.approx(3 * share, rel=1e-6)
    assert found["bn.running_var"].item() == pytest.approx(50 - 49 * share, rel=1e-6)
    assert found["teacher.w"].item() == pytest.approx(9 * (50 - 49 * share), rel=1e-6)


def test_with_few_examples_a_group_is_not_one_client():
    """Distances as clients with 70 to 204 examples of the digits have them, after an epoch or so:
    each is its own direction's length from the others' middle."""
    examples, distances = [115, 145, 70, 126, 204], [0.5, 1.1, 0.5, 0.5, 0.9]
    model = {"w": torch.zeros(5)}
    cohort = [
        Update(f"client-{k}", {"w": d * torch.eye(5)[k]}, n)
        for k, (n, d) in enumerate(zip(examples, distances, strict=True))
    ]
    shares = SubConsensus(1, 5)._shares(model, cohort)
    assert max(shares) < 0.5 and min(shares) > 0.05
    assert max(SubConsensus(1, 5, 10_000.0)._shares(model, cohort)) > 0.9
