"""Selection rules: who is drawn, how often, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from umbel import registry
from umbel.errors import BadInput
from umbel.strategies import (
    Fraction,
    OverSelection,
    PowerOfChoice,
    RoundRobin,
    Seen,
    Selection,
    fedavg,
)
from umbel.strategies.parts import EndsEarly


def draw(rule, population=10, round=1, seed=0, seen=None):
    return list(rule(Selection(round, population, np.random.default_rng(seed), seen or {})))


@pytest.mark.parametrize("population", [1, 2, 7, 30])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("name", registry.names("selection"))
def test_positions_are_distinct_ascending_and_within_the_population(name, fraction, population):
    rule = registry.build("selection", name, {"fraction": fraction})
    for round in (1, 2, 9):
        found = draw(rule, population, round)
        assert found == sorted(set(found)) and found[0] >= 0 and found[-1] < population
        needed = max(1, round_half(fraction * population))
        assert len(found) == needed or (isinstance(rule, EndsEarly) and len(found) > needed)


def round_half(value):
    return round(value)


def test_round_robin_asks_everybody_equally_often():
    asked = [p for round in range(1, 11) for p in draw(RoundRobin(0.3), 10, round)]
    assert np.bincount(asked).tolist() == [3] * 10


def test_power_of_choice_takes_the_largest_losses_heard_of():
    losses = [0.1, 0.9, 0.5, 0.7, 0.2]
    seen = {p: Seen(1, 10, loss) for p, loss in enumerate(losses)}
    assert draw(PowerOfChoice(0.4, 1.0), 5, seen=seen) == [1, 3]


def test_power_of_choice_asks_those_never_heard_first():
    seen = {p: Seen(1, 10, 5.0) for p in range(8)}
    assert draw(PowerOfChoice(0.2, 1.0), 10, seen=seen) == [8, 9]
    told_nothing = {**seen, 3: Seen(1, 10, None)}
    assert draw(PowerOfChoice(0.3, 1.0), 10, seen=told_nothing) == [3, 8, 9]


def test_power_of_choice_with_as_many_candidates_as_it_needs_is_a_draw_by_examples():
    seen = {0: Seen(1, 300, 0.1), 1: Seen(1, 100, 9.0)}
    rng = np.random.default_rng(3)
    rule = PowerOfChoice(0.5, 0.5)
    drawn = [rule(Selection(1, 2, rng, seen))[0] for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(0.25, abs=0.03)


def test_power_of_choice_weighs_candidates_it_never_heard_as_the_mean():
    rng = np.random.default_rng(3)
    seen = {0: Seen(1, 300, 0.1), 1: Seen(1, 100, 9.0)}
    rule = PowerOfChoice(0.25, 0.25)
    drawn = [rule(Selection(1, 4, rng, seen))[0] for _ in range(4000)]
    shares = np.bincount(drawn, minlength=4) / 4000
    np.testing.assert_allclose(shares, np.array([3, 1, 2, 2]) / 8, atol=0.03)


@pytest.mark.parametrize(
    ("fraction", "over", "population", "asked", "needed"),
    [(0.5, 0.3, 10, 7, 5), (0.1, 0.1, 100, 11, 10), (1.0, 0.5, 10, 10, 10), (0.1, 0.0, 20, 2, 2)],
)
def test_over_selection_asks_more_and_needs_as_many(fraction, over, population, asked, needed):
    rule = OverSelection(fraction, over)
    assert isinstance(rule, EndsEarly)
    assert len(draw(rule, population)) == asked and rule.enough(population) == needed


def test_a_recipe_takes_a_rule_by_name_or_with_its_parameters():
    assert fedavg(fraction=0.5).select == Fraction(0.5)
    assert fedavg(fraction=0.5, select="round-robin").select == RoundRobin(0.5)
    table = {"name": "power-of-choice", "candidates": 0.8}
    assert fedavg(fraction=0.5, select=table).select == PowerOfChoice(0.5, 0.8)


@pytest.mark.parametrize("name", registry.names("strategy"))
def test_every_strategy_of_the_catalogue_takes_a_selection(name):
    table = {"name": "power-of-choice", "candidates": 0.9}
    made = registry.build("strategy", name, {"fraction": 0.5, "select": table})
    assert made.select == PowerOfChoice(0.5, 0.9)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"select": "round-robbin"}, "did you mean 'round-robin'"),
        ({"select": {"name": "power-of-choice", "candidate": 0.5}}, "did you mean 'candidates'"),
        (
            {"select": {"name": "power-of-choice", "candidates": 0.2}, "fraction": 0.5},
            "select: candidates: 0.2 is less than fraction 0.5",
        ),
        ({"select": {"candidates": 0.2}}, "select: a table needs a name"),
        ({"select": {"name": "fraction", "fraction": 0.2}}, "fraction stands beside select"),
        ({"select": {"name": "over-selection", "over": -0.1}}, "over: -0.1 is not"),
        ({"fraction": 1.5}, "fraction: 1.5 is not in"),
    ],
)
def test_what_cannot_be_is_refused(parameters, said):
    with pytest.raises(BadInput, match=said):
        registry.build("strategy", "fedavg", parameters)
