"""Weighted examples of another distribution: the weights, the loss, and what becomes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import LinearConstraint, minimize
from sklearn.linear_model import LogisticRegression

import umbel
from umbel.data.shard import Shard
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.paradigms.transfer.density import density_ratio
from umbel.paradigms.transfer.instances import WEIGHTS, Instances
from umbel.paradigms.transfer.matching import Programme, kernel_mean_matching
from umbel.schema import Schema
from umbel.tensors import nbytes


def scipys(gram, likeness, bound, least, most):
    """The same programme by sequential quadratic programming."""
    count = len(likeness)
    found = minimize(
        lambda b: b @ gram @ b / 2 - likeness @ b,
        np.full(count, np.clip(1.0, least / count, most / count)),
        jac=lambda b: gram @ b - likeness,
        method="SLSQP",
        bounds=[(0, bound)] * count,
        constraints=LinearConstraint(np.ones((1, count)), least, most),
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert found.success
    return found.x


@pytest.mark.parametrize(
    ("bound", "least", "most"),
    [(100.0, 0.0, 100.0), (1.2, 0.0, 100.0), (100.0, 25.0, 30.0), (3.0, 1.0, 4.0)],
    ids=["free", "box", "least", "most"],
)
def test_the_programme_as_scipy_solves_it(bound, least, most):
    rng = np.random.default_rng(4)
    points = rng.normal(size=(12, 3))
    gram = np.exp(-((points[:, None] - points) ** 2).sum(2))
    likeness = rng.uniform(0, 2, 12)
    programme = Programme(gram, likeness, bound, least, most)
    found, theirs = programme.solve(), scipys(gram, likeness, bound, least, most)
    assert found.min() >= 0 and found.max() <= bound
    assert least - 1e-9 <= found.sum() <= most + 1e-9

    def objective(b):
        return b @ gram @ b / 2 - likeness @ b

    # The gap bounds how far weights are from the least, of these and of any others.
    assert -1e-9 <= objective(found) - objective(theirs) + 1e-9 <= programme.gap(found) + 1e-8
    assert programme.gap(found) < 2e-5
    np.testing.assert_allclose(found, theirs, atol=0.02)
    even = np.full(12, np.clip(1.0, least / 12, min(most / 12, bound)))
    assert programme.gap(even) >= objective(even) - objective(theirs) > 0.1


def test_kernel_mean_matching_written_out():
    """The kernel pair by pair, the median width, and the bounds of the paper."""
    rng = np.random.default_rng(5)
    source, target = rng.normal(size=(15, 2)), rng.normal(0.8, 0.5, size=(6, 2))
    pairs = [(i, j) for i in range(15) for j in range(i)]
    width = np.median([np.linalg.norm(source[i] - source[j]) for i, j in pairs])

    def kernel(a, b):
        return math.exp(-np.sum((a - b) ** 2) / (2 * width**2))

    gram = np.array([[kernel(a, b) for b in source] for a in source])
    likeness = np.array([15 / 6 * sum(kernel(a, z) for z in target) for a in source])
    eps = (math.sqrt(15) - 1) / math.sqrt(15)
    theirs = scipys(gram, likeness, 5.0, 15 * (1 - eps), 15 * (1 + eps))
    found = kernel_mean_matching(source, target, 5.0)
    np.testing.assert_allclose(found, theirs, atol=0.1)
    apart = gram @ (found - theirs) @ (found - theirs)
    assert abs(apart) < 1e-4


def test_the_ratio_of_two_gaussians():
    """N(1, 1) over N(0, 1) is `exp(x - 1/2)`, on 4000 of either."""
    rng = np.random.default_rng(6)
    source, target = rng.normal(size=(4000, 1)), rng.normal(1.0, 1.0, size=(4000, 1))
    points = np.linspace(-1.5, 2.5, 9)
    place = [int(np.abs(source[:, 0] - point).argmin()) for point in points]
    found = density_ratio(source, target)[place]
    np.testing.assert_allclose(found, np.exp(source[place, 0] - 0.5), rtol=0.12)


def test_the_ratio_is_the_classifiers():
    rng = np.random.default_rng(7)
    source, target = rng.normal(size=(60, 3)), rng.normal(1.0, 0.7, size=(20, 3))
    both, whose = np.concatenate([source, target]), [0] * 60 + [1] * 20
    here = LogisticRegression(max_iter=1000).fit(both, whose).predict_proba(source)[:, 1]
    expected = 60 / 20 * here / (1 - here)
    np.testing.assert_allclose(density_ratio(source, target), expected, rtol=1e-9)
    np.testing.assert_allclose(density_ratio(source, target, 2.0), np.minimum(expected, 2.0))


SCHEMA = Schema("classification", (2,), "float32", ("a", "b"))


class Made:
    """Makes a linear model, and has a source of 40 examples."""

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = torch.nn.Linear(2, 2)

        def forward(self, inputs):
            return self.head(inputs)

    def __call__(self, schema):
        return Made.Model()

    def auxiliary(self, schema, count):
        rng = np.random.default_rng(8)
        x = rng.normal(size=(count, 2)).astype(np.float32) * [1.0, 1000.0]
        return Shard("s", SCHEMA, {"x": x.astype(np.float32), "y": np.arange(count) % 2})


def shard(count=7, unlabelled=0):
    rng = np.random.default_rng(9)
    x = (rng.normal(0.8, 0.5, size=(count, 2)) * [1.0, 1000.0]).astype(np.float32)
    y = np.where(np.arange(count) < unlabelled, -1, np.arange(count) % 2)
    return Shard("client-0", SCHEMA, {"x": x, "y": y})


@pytest.mark.parametrize("weighting", ["kmm", "classifier"])
def test_an_epoch_and_its_loss(weighting):
    """Each example once, its own weighing 1; columns count by their spread in the source."""
    paradigm = Instances(Made(), weighting=weighting, examples=40, bound=6.0)
    model = paradigm.build(SCHEMA)
    prepared = paradigm.prepare_training(shard())
    source, own = Made().auxiliary(SCHEMA, 40).arrays["x"], shard().arrays["x"]
    spread = source.astype(float).std(axis=0)
    rule = {"kmm": kernel_mean_matching, "classifier": density_ratio}[weighting]
    expected = rule(source / spread, own / spread, 6.0)
    np.testing.assert_allclose(prepared[WEIGHTS].numpy(), expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1

    batches = list(paradigm.batches(prepared, 10, torch.Generator().manual_seed(0)))
    assert [len(batch["y"]) for batch in batches] == [10, 10, 10, 10, 7]
    rows = np.concatenate([np.column_stack([b["x"], b["y"], b[WEIGHTS]]) for b in batches])
    whole = np.column_stack([source, np.arange(40) % 2, prepared[WEIGHTS]])
    whole = np.concatenate([whole, np.column_stack([own, np.arange(7) % 2, np.ones(7)])])
    order = [np.lexsort(table.T) for table in (rows, whole)]
    np.testing.assert_allclose(rows[order[0]], whole[order[1]], rtol=1e-6)

    [batch] = paradigm.batches(prepared, 0, torch.Generator().manual_seed(0))
    logs = torch.log_softmax(model(batch["x"]), 1)[torch.arange(47), batch["y"]]
    found = paradigm.loss(model, batch, torch.Generator())
    torch.testing.assert_close(found, -(batch[WEIGHTS] * logs).sum() / 47)


def test_examples_without_a_label_count_for_the_weights_alone():
    paradigm = Instances(Made(), examples=40)
    paradigm.build(SCHEMA)
    some, all_ = (paradigm.prepare_training(shard(20, unlabelled=n)) for n in (15, 0))
    assert len(some["y"]) == 5 and len(all_["y"]) == 20
    assert torch.equal(some[WEIGHTS], all_[WEIGHTS])


def draw(rng, count, centre):
    """Four columns of which two say the label."""
    x = rng.normal([centre, 0.8, 0.0, 0.0], [0.8, 1.0, 1.0, 1.0], (count, 4)).astype(np.float32)
    return {"x": x, "y": (x[:, 1] > x[:, 0] ** 2).astype(np.int64)}


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """Inputs lie elsewhere in the source, and the same rule says their label: a plane is right in
    neither place, and another one is the best in each."""
    folder = tmp_path_factory.mktemp("shifted")
    for seed in range(2):
        rng = np.random.default_rng(seed)
        np.savez(folder / f"own-{seed}.npz", **draw(rng, 60, 1.2))
        np.savez(folder / f"test-{seed}.npz", **draw(rng, 2000, 1.2))
        np.savez(folder / f"source-{seed}.npz", **draw(rng, 250, 0.0))
    return folder


def experiment(folder, *, seed=0, paradigm=None, rounds=3, epochs=8, **sections) -> Experiment:
    data = {
        "source": str(folder / f"own-{seed}.npz"),
        "test": str(folder / f"test-{seed}.npz"),
        "auxiliary": str(folder / f"source-{seed}.npz"),
        "clients": 3,
        "held_out": 0.0,
    } | sections.pop("data", {})
    return Experiment(
        experiment={"rounds": rounds, "seed": seed},
        data=data,
        model=sections.pop("model", {"name": "logistic"}),
        paradigm=paradigm or {"name": "instances", "examples": 150},
        client={"epochs": epochs, "batch_size": 20, "optimizer": {"name": "sgd", "lr": 0.5}},
        evaluation={"every": rounds},
        **sections,
    )


def test_weights_help_where_the_source_lies_elsewhere(shifted, tmp_path):
    """Two labels at each of three clients, and 18 inputs without; of two draws the mean."""
    found = {}
    for weighting in ("alone", "uniform", "classifier", "kmm"):
        settings = {"name": "instances", "examples": 200, "weighting": weighting}
        paradigm = {"name": "supervised"} if weighting == "alone" else settings
        epochs = 60 if weighting == "alone" else 8
        scores = []
        for seed in range(2):
            told = experiment(
                shifted, seed=seed, paradigm=paradigm, epochs=epochs, data={"labelled": 0.1}
            )
            result = umbel.simulate(told, out=tmp_path / f"{weighting}-{seed}")
            scores.append(result.records[-1]["metrics"]["central"]["accuracy"])
        found[weighting] = sum(scores) / 2
    best_without = max(found["uniform"], found["alone"])
    assert found["kmm"] > best_without + 0.05, found
    assert found["classifier"] > best_without + 0.05, found


@pytest.mark.parametrize(
    "strategy", ["fedavg", "fedadam", "fedprox", "scaffold", "median", "fltrust"]
)
def test_every_kind_of_strategy(shifted, tmp_path, strategy):
    """The clients tell how many they have themselves, and the source goes to them once."""
    data = {"server": str(shifted / "own-1.npz")} if strategy == "fltrust" else {}
    told = experiment(shifted, strategy=strategy, data=data, rounds=2, epochs=1)
    result = umbel.simulate(told, out=tmp_path / "run")
    assert sorted(result.model) == ["head.bias", "head.weight"]
    assert all(torch.isfinite(value).all() for value in result.model.values())
    assert [row["examples"] for row in result.records[0]["clients"]] == [20, 20, 20]
    first, second = (record["bytes_down"] for record in result.records)
    assert first > second + 150 * (4 * 4 + 8) > second > 3 * nbytes(result.model)


def test_two_workers_end_in_the_same_bytes(shifted, tmp_path):
    told = experiment(shifted)
    one = umbel.simulate(told, out=tmp_path / "one")
    sections = told.model_dump(exclude_unset=True) | {"simulation": {"workers": 2}}
    two = umbel.simulate(Experiment(**sections), out=tmp_path / "two")
    assert one.sha256 == two.sha256


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"data": {"auxiliary": None}}, "data.auxiliary: missing; this paradigm learns from"),
        ({"data": {"auxiliary": "digits"}}, r"label '2' is outside the classes"),
        ({"data": {"auxiliary": "none.npz"}}, "none.npz: no such file"),
        ({"paradigm": {"examples": 251}}, "has 250 labelled examples; set paradigm.examples"),
        ({"paradigm": {"examples": 0}}, "examples: 0 is not at least 1"),
        ({"paradigm": {"examples": 5001}}, "examples: 5001 is more than the 5000 of kmm"),
        ({"paradigm": {"bound": 0.5}}, "bound: 0.5 is not a number from 1"),
        ({"paradigm": {"bound": math.inf}}, "paradigm.bound: must be a finite number, found inf"),
        ({"paradigm": {"weighting": "kmn"}}, "weighting: must be 'kmm', 'classifier' or 'uniform'"),
    ],
)
def test_what_is_refused(shifted, tmp_path, sections, said):
    paradigm = {"name": "instances", **sections.pop("paradigm", {"examples": 150})}
    with pytest.raises(BadInput, match=said):
        umbel.simulate(experiment(shifted, paradigm=paradigm, **sections), out=tmp_path / "run")


def test_a_source_of_another_shape_is_refused(shifted, tmp_path):
    wide = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    np.savez(tmp_path / "wide.npz", x=wide, y=np.arange(200) % 2)
    told = experiment(shifted, data={"auxiliary": str(tmp_path / "wide.npz")})
    with pytest.raises(BadInput, match=r"data.auxiliary: .*wide.npz does not fit .*\(3,\) instead"):
        umbel.simulate(told, out=tmp_path / "run")


def test_texts_are_refused(tmp_path):
    (tmp_path / "texts.csv").write_text("text,label\n" + "good,a\nbad,b\n" * 20)
    source = f"{tmp_path / 'texts.csv'}?text=text"
    told = Experiment(data={"source": source, "auxiliary": source}, paradigm="instances")
    with pytest.raises(BadInput, match="instances are compared as numbers; the examples are texts"):
        umbel.simulate(told, out=tmp_path / "run")
