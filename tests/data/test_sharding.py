from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.data import UNLABELLED, Dataset, central_test, load_dataset, make_shards
from umbel.data.hiding import keep_labels
from umbel.data.rows import TARGET
from umbel.data.shard import held_out_rows
from umbel.errors import BadInput
from umbel.experiment import Experiment

MakeExperiment = Callable[..., Experiment]


def test_shards_are_named_and_bounded(blobs: Dataset, make_experiment: MakeExperiment) -> None:
    source = make_shards(make_experiment(clients=4), blobs)
    assert len(source) == 4
    assert source.shard(2).client == source.name(2) == "client-2"
    assert source.schema == source.shard(0).schema == blobs.schema
    for index in (-1, 4):
        with pytest.raises(IndexError):
            source.shard(index)


def test_the_experiment_names_its_data(make_experiment: MakeExperiment) -> None:
    source = make_shards(make_experiment("dirichlet", source="digits", clients=3))
    assert sum(len(source.shard(i)) for i in range(3)) == 1797


def test_fewer_examples_than_clients(
    make_experiment: MakeExperiment, make_blobs: Callable[..., Dataset]
) -> None:
    with pytest.raises(BadInput, match=r"data\.clients: 9 clients but only 8 examples"):
        make_shards(make_experiment(clients=9), make_blobs(np.zeros(8), classes=1))


@pytest.mark.parametrize("label", [-2, 3])
def test_a_label_outside_the_classes(
    label: int, make_experiment: MakeExperiment, make_blobs: Callable[..., Dataset]
) -> None:
    with pytest.raises(BadInput, match=f"row 3: label {label} is outside the 3 classes"):
        make_shards(make_experiment(clients=2), make_blobs(np.array([0, 1, label]), classes=3))


def test_an_unknown_partitioner_offers_the_nearest(
    blobs: Dataset, make_experiment: MakeExperiment
) -> None:
    with pytest.raises(BadInput, match="dirichlet"):
        make_shards(make_experiment("dirichlett"), blobs)


def test_labelled_share_hides_labels_and_nothing_else(
    blobs: Dataset, make_experiment: MakeExperiment
) -> None:
    whole = make_shards(make_experiment(clients=3), blobs)
    some = make_shards(make_experiment(clients=3, labelled=0.1, held_out=0.0), blobs)
    for index in range(3):
        full, part = whole.shard(index).arrays, some.shard(index).arrays
        assert np.array_equal(full["x"], part["x"])
        kept = part["y"] != UNLABELLED
        assert kept.sum() == 10
        assert np.array_equal(full["y"][kept], part["y"][kept])
        assert np.array_equal(part["y"], some.shard(index).arrays["y"])


@settings(deadline=None)
@given(
    labels=st.lists(st.integers(-1, 4), max_size=80),
    share=st.floats(0, 1),
    seed=st.integers(0, 10**9),
)
def test_kept_labels_are_the_share_spread_over_the_classes(
    labels: list[int], share: float, seed: int
) -> None:
    given_labels = np.array(labels, dtype=np.int64)
    kept = keep_labels(given_labels, share, np.random.default_rng(seed))
    mask = kept != UNLABELLED
    assert np.array_equal(kept[mask], given_labels[mask])
    labelled = int((given_labels != UNLABELLED).sum())
    expected = 0 if share == 0 or labelled == 0 else max(1, round(share * labelled))
    assert mask.sum() == expected
    for code in range(5):
        exact = share * (given_labels == code).sum()
        assert abs((kept == code).sum() - exact) <= 1


def test_central_test_is_the_sets_own_or_the_one_named(
    tmp_path: Path, make_experiment: MakeExperiment
) -> None:
    digits = load_dataset("digits")
    assert central_test(make_experiment(), digits) is None
    held = {"x": digits.train["x"][:10], "y": digits.train["y"][:10]}
    with_test = dataclasses.replace(digits, test=held)
    found = central_test(make_experiment(), with_test)
    assert found is not None and found[1] is held
    np.savez(tmp_path / "test.npz", **held)
    found = central_test(make_experiment(test=str(tmp_path / "test.npz")), digits)
    assert found is not None
    assert found[0] == digits.schema
    assert np.array_equal(found[1]["y"], held["y"])


def test_a_central_test_of_another_shape_is_refused(
    tmp_path: Path, make_experiment: MakeExperiment
) -> None:
    np.savez(tmp_path / "t.npz", x=np.zeros((2, 9, 9), np.uint8), y=np.array([0, 1]))
    with pytest.raises(BadInput, match=r"data\.test: .*t\.npz does not fit digits: shape"):
        central_test(make_experiment(test=str(tmp_path / "t.npz")), load_dataset("digits"))


def test_what_a_client_holds_out_keeps_its_labels(
    make_experiment: MakeExperiment, blobs: Dataset
) -> None:
    source = make_shards(make_experiment(clients=3, labelled=0.1, held_out=0.25), blobs)
    for index in range(3):
        shard = source.shard(index)
        train, held = held_out_rows(len(shard), 0.25, 0, shard.client)
        assert (shard.arrays["y"][held] != UNLABELLED).all()
        assert (shard.arrays["y"][train] != UNLABELLED).sum() == round(0.1 * len(train))


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "linear"])
@pytest.mark.parametrize(("count", "each"), [(400, 40), (100, 10), (20, 2)])
def test_labels_in_all_are_shown_to_clients_that_train_on_them(
    make_experiment: MakeExperiment, partition: str, count: int, each: int
) -> None:
    """None is spent on what a client holds out."""
    told = make_experiment(partition, source="digits", clients=5, labels=count, held_out=0.2)
    source = make_shards(told)
    shown = np.concatenate([source.labels(k) for k in range(5)])
    assert np.bincount(shown[shown != UNLABELLED]).tolist() == [each] * 10
    for index in range(5):
        shard = source.shard(index)
        train, held = held_out_rows(len(shard), 0.2, 0, shard.client)
        assert np.array_equal(shard.arrays["y"][train], source.labels(index))
        assert (shard.arrays["y"][held] != UNLABELLED).all()


def test_labels_go_where_a_class_has_them(
    make_experiment: MakeExperiment, make_blobs: Callable[..., Dataset]
) -> None:
    """One client, which holds out 10 of 50: of class 1 it has at most 3 to train on."""
    blobs = make_blobs(np.array([0] * 47 + [1] * 3), classes=2)
    source = make_shards(make_experiment(clients=1, labels=20, held_out=0.2), blobs)
    train, _ = held_out_rows(50, 0.2, 0, "client-0")
    rare = int((blobs.train["y"][source.partition(0)][train] == 1).sum())
    shown = source.labels(0)
    assert np.bincount(shown[shown != UNLABELLED]).tolist() == [20 - rare, rare]


def test_a_large_population_that_draws_again_is_not_gone_through(
    make_experiment: MakeExperiment,
) -> None:
    source = make_shards(make_experiment("bootstrap", source="digits", clients=10**9, labels=30))
    assert source.hiding.rows is not None and len(source.hiding.rows) == 30


def test_numbers_have_no_labels_to_hide(
    make_experiment: MakeExperiment, make_blobs: Callable[..., Dataset]
) -> None:
    blobs = make_blobs(np.full(8, UNLABELLED), classes=1)
    numbers = dataclasses.replace(blobs, train={**blobs.train, TARGET: np.ones(8, np.float32)})
    with pytest.raises(BadInput, match="labels are hidden by class, .* and labels"):
        make_shards(make_experiment(clients=2, labels=4), numbers)
