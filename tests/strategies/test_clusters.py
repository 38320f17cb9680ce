"""When a cluster of clients splits, and between whom: by hand and by brute force."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from umbel import registry
from umbel.errors import BadInput
from umbel.experiment import Experiment, check
from umbel.server.membership import Member, Membership
from umbel.strategies import Momentum, Moves, SplitBySequences, Strategy, gcfl, scaffold
from umbel.strategies.clusters import minimum_cut, warped_distance


def least(one, other):
    """The least sum of squares over all ways through both sequences, by trying each."""
    here = (one[-1] - other[-1]) ** 2
    ways = [(one[:-1], other), (one, other[:-1]), (one[:-1], other[:-1])]
    sums = [least(a, b) for a, b in ways if a and b]
    return here + (min(sums) if sums else 0.0)


def test_the_warped_distance_is_that_of_the_best_of_all_ways():
    generator = np.random.default_rng(3)
    for _ in range(60):
        one = generator.integers(0, 6, generator.integers(1, 7)).astype(float).tolist()
        other = generator.integers(0, 6, generator.integers(1, 7)).astype(float).tolist()
        assert warped_distance(one, other) == math.sqrt(least(one, other))
        assert warped_distance(one, other) == warped_distance(other, one)
        assert warped_distance(one, [one[0], *one]) == 0.0


def test_the_cut_is_the_least_of_all_cuts():
    generator = np.random.default_rng(4)
    for size in (2, 3, 5, 6):
        for _ in range(10):
            pairs = list(combinations(range(size), 2))
            weights = dict(zip(pairs, generator.random(len(pairs)).tolist(), strict=True))

            def crossing(part, weights=weights):
                return sum(w for (a, b), w in weights.items() if (a in part) != (b in part))

            sides = [
                {0, *rest} for n in range(size - 1) for rest in combinations(range(1, size), n)
            ]
            part = minimum_cut(weights)
            assert 0 in part and len(part) < size
            assert crossing(part) == pytest.approx(min(map(crossing, sides)))


ALIKE = {"a": [4.0, 3.0, 2.0], "b": [1.0, 1.0, 1.0], "c": [4.0, 3.0, 2.1], "d": [1.0, 1.1, 1.0]}
"""a and c fall, b and d stay."""


def test_a_cluster_splits_between_those_whose_norms_go_unlike_ways():
    rule = SplitBySequences(length=3)
    assert rule.split(ALIKE) == [["a", "c"], ["b", "d"]]
    # Only the last norms count.
    longer = {name: [100.0 * place, *norms] for place, (name, norms) in enumerate(ALIKE.items())}
    assert rule.split(longer) == [["a", "c"], ["b", "d"]]


@pytest.mark.parametrize(
    "sequences",
    [
        {"a": ALIKE["a"], "b": ALIKE["b"]},
        {**ALIKE, "d": ALIKE["d"][1:]},
        {name: [1.0, 2.0, 3.0] for name in "abcd"},
    ],
    ids=["two clients", "one tells too little", "all alike"],
)
def test_a_cluster_stays_whole(sequences):
    assert SplitBySequences(length=3).split(sequences) == [list(sequences)]


def test_a_cluster_is_due_where_it_rests_and_one_of_its_clients_does_not():
    rule = SplitBySequences(epsilon1=0.1, epsilon2=0.5, after=20)
    assert rule.due(21, Moves(mean=0.09, largest=0.51))
    assert not rule.due(20, Moves(mean=0.09, largest=0.51))
    assert not rule.due(21, Moves(mean=0.1, largest=0.51))
    assert not rule.due(21, Moves(mean=0.09, largest=0.5))


def test_a_client_that_is_gone_does_not_hold_the_others_up():
    members = Membership(length=2)
    for round in (1, 2, 3):
        members.note("a", 1.0, Member(cluster=0, heard=round, examples=10))
        members.note("b", 2.0, Member(cluster=0, heard=round, examples=10))
    members.note("gone", 3.0, Member(cluster=0, heard=1, examples=10))
    assert "gone" in members.sequences(0, 1, updates=3)
    # Of three clients two answer, so that two rounds each take four at the most.
    assert "gone" in members.sequences(0, 4, updates=2)
    assert "gone" not in members.sequences(0, 5, updates=2)
    # It goes with the larger part, and so does whoever comes new.
    members.note("c", 2.0, Member(cluster=0, heard=4, examples=10))
    members.divide([["a"], ["b", "c"]])
    assert members.clusters == {0: ["a"], 1: ["b", "c", "gone"]}
    assert members.home("new") == 1
    assert not any(members.sequences(1, 4, updates=2).values())


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"epsilon1": 0}, "epsilon1: 0.* is not more than 0"),
        ({"epsilon2": -1.0}, "epsilon2: -1.* is not more than 0"),
        ({"epsilon1": float("nan")}, "epsilon1: nan is not a number"),
        ({"length": 0}, "length: 0 is less than 1"),
        ({"after": -1}, "after: -1 is less than 0"),
    ],
)
def test_thresholds_that_cannot_be_are_refused(parameters, said):
    with pytest.raises(BadInput, match=said):
        registry.build("strategy", "gcfl", parameters)


def test_it_is_refused_where_clients_do_not_descend():
    with pytest.raises(BadInput, match="the paradigm forest does not descend"):
        check(Experiment(paradigm="forest", strategy="gcfl"))


@pytest.mark.parametrize(
    ("parameters", "rounds", "said"),
    [
        ({}, 10, "in 10 rounds it is no more than fedavg: no cluster splits in the first 20"),
        ({}, 20, "in 20 rounds it is no more than fedavg: no cluster splits in the first 20"),
        ({}, 21, ""),
        ({"after": 0}, 4, "no cluster splits before 5 updates of each (strategy.length)"),
        ({"after": 0}, 5, ""),
    ],
)
def test_too_few_rounds_to_split_are_told(umbel, tmp_path, parameters, rounds, said):
    told = Experiment(
        experiment={"rounds": rounds},
        data={"clients": 2},
        model={"name": "logistic"},
        strategy={"name": "gcfl", **parameters},
        evaluation={"every": rounds},
    )
    (tmp_path / "exp.toml").write_text(told.to_toml())
    for command in ("check", "simulate"):
        code, _, err = umbel(command, "exp.toml")
        lines = [line for line in err.splitlines() if "no more than fedavg" in line]
        assert code == 0 and len(lines) == bool(said)
        assert all(said in line for line in lines)


def test_clusters_go_with_a_plain_mean_only():
    rule = SplitBySequences()
    with pytest.raises(ValueError, match="clusters: each has the mean"):
        Strategy(step=Momentum(), clusters=rule)
    with pytest.raises(ValueError, match="clusters: each has the mean"):
        Strategy(local=scaffold().local, clusters=rule)
    with pytest.raises(BadInput, match="combine: gcfl has a model for each cluster"):
        registry.build("strategy", "composed", {"combine": "gcfl"})


def test_flowers_own_loop_has_one_model_only():
    with pytest.raises(NotImplementedError, match="gcfl has several models"):
        gcfl().configure_train(1, None, None, None)
