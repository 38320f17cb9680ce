"""Learning from few labels: each method against what its paper's equations give by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import umbel
from umbel import registry
from umbel.building import build_model, build_paradigm
from umbel.data import load_dataset, make_shards, server_examples
from umbel.data.shard import TRUTH, UNLABELLED, Shard, held_out_rows
from umbel.data.tensors import to_inputs
from umbel.errors import BadInput
from umbel.experiment import Experiment, load
from umbel.paradigms.helpers import learnt
from umbel.paradigms.semi_supervised.confident import Confident, Terms
from umbel.paradigms.semi_supervised.consistency import Consistent, Weight
from umbel.paradigms.semi_supervised.fixed import FixedAndMixed
from umbel.paradigms.semi_supervised.mixed import Mixed
from umbel.paradigms.semi_supervised.mixing import beta_draws
from umbel.paradigms.semi_supervised.recipes import unevenness
from umbel.paradigms.semi_supervised.semi import Stand
from umbel.paradigms.semi_supervised.thresholds import (
    ByLearning,
    Fixed,
    Margin,
    SelfAdaptive,
    adaptive,
)
from umbel.paradigms.semi_supervised.told import Told
from umbel.randomness import torch_seeded
from umbel.rounds import evaluation
from umbel.schema import Schema
from umbel.server import report_figures
from umbel.server.evaluation import CentralTest
from umbel.server.observer import Silent
from umbel.strategies.local_parts import LocalRun, Plain
from umbel.strategies.recipes import fedavg
from umbel.strategies.recipes_few_labels import semifl
from umbel.training.optimizers import GradientDescent
from umbel.training.trainer import Effort, Trainer, trainable

METHODS = (
    "entropy", "fedmatch", "fixmatch", "flexmatch", "freematch", "mean-teacher", "mixmatch", "pi-model",
    "pseudo-label", "rscfed", "self-training", "semifl", "svm", "uda",
)  # fmt: skip
SCHEMA = Schema("classification", (2,), "float32", classes=("a", "b", "c"))
SEED = torch.Generator()


class Scores(nn.Module):
    """A model whose scores are the inputs, times a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        return inputs * self.weight


X = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
Y = torch.tensor([0, 2])
U = torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.1, 0.0], [0.0, 5.0, 0.0]])
BATCH = {"rows": torch.arange(5), "x": X, "y": Y, "u": U}
PREPARED = {"x": torch.cat([X, U]), "y": torch.cat([Y, torch.full((3,), UNLABELLED)])}


def mixed():
    """Of whose unlabelled examples the true classes are 0, 1 and 2."""
    sharing = Mixed(lambda schema: Scores(), ratio=1, augmentation="none")
    arrays = {name: tensor.numpy() for name, tensor in PREPARED.items()}
    shard = Shard("client-0", SCHEMA, {**arrays, TRUTH: np.array([0, 2, 0, 1, 2])})
    sharing.begin(sharing.prepare(shard))
    return sharing


def stand(round=1, method=None):
    model = Scores()
    made = Stand(model, round, PREPARED)
    if method is not None:
        method.attach(model, SCHEMA)
        method.begin(made)
    return made


def probabilities(row):
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


def test_fixmatch_by_hand():
    """Of three unlabelled examples two are sure; those that are not count as 0 in the mean."""
    sharing = mixed()
    method = Confident(sharing, Terms(weight=0.5), Fixed(0.9))
    found = method.loss(stand(method=method), BATCH, SEED)
    own = -(math.log(probabilities(X[0])[0]) + math.log(probabilities(X[1])[2])) / 2
    term = -(math.log(probabilities(U[0])[0]) + math.log(probabilities(U[2])[1])) / 3
    assert float(found) == pytest.approx(own + 0.5 * term, rel=1e-6)
    assert sharing.counted() == {
        "unlabelled_count": 3,
        "kept_count": 2,
        "judged_count": 2,
        "right_count": 1,
    }
    assert sharing.counted() == {}


def test_pseudo_labels_of_the_received_model_stay_for_the_round():
    method = Confident(mixed(), Terms(strong=False, source="round"), Fixed(0.0))
    now = stand(method=method)
    with torch.no_grad():
        now.model.weight.fill_(-1.0)
    found = method.loss(now, {**BATCH, "x": X[:0], "y": Y[:0]} | {"rows": torch.arange(2, 5)}, SEED)
    wanted = cross_entropy(-U, torch.tensor([0, 1, 1]))
    torch.testing.assert_close(found, wanted)


def test_each_example_is_told_of_once_as_the_received_model_saw_it():
    asked = []

    def read(scores):
        asked.append(len(scores))
        return scores

    now = stand()
    told = Told(now, [{}, {"weight": torch.tensor(3.0)}], read)
    assert asked == []
    assert told.each(torch.tensor([3])).tolist() == [U[1:2].tolist(), (3 * U[1:2]).tolist()]
    with torch.no_grad():
        now.model.weight.fill_(-1.0)
    assert told.mean(torch.tensor([4, 3])).tolist() == (2 * U[[2, 1]]).tolist()
    assert asked == [1, 1, 1, 1]


def test_a_ramp_of_rounds():
    method = Confident(mixed(), Terms(ramp=4, strong=False), Fixed(0.0))
    whole = cross_entropy(U, U.argmax(1))
    own = cross_entropy(X, Y)
    for round, share in ((1, 0.0), (3, 0.5), (9, 1.0)):
        found = method.loss(stand(round, method), BATCH, SEED)
        torch.testing.assert_close(found, own + share * whole)


def test_uda_learns_sharpened_probabilities():
    method = Confident(mixed(), Terms(sharpen=0.4), Fixed(0.8))
    found = method.loss(stand(method=method), BATCH, SEED) - cross_entropy(X, Y)
    terms = []
    for row in (U[0], U[2]):
        sharp = [p ** (1 / 0.4) for p in probabilities(row)]
        target = [value / sum(sharp) for value in sharp]
        said = probabilities(row)
        terms.append(sum(t * math.log(t / p) for t, p in zip(target, said, strict=True)))
    assert float(found) == pytest.approx(sum(terms) / 3, rel=1e-4)


def test_flexmatch_lowers_the_threshold_of_what_is_learnt_less():
    threshold = ByLearning(0.9)
    threshold.begin(stand())
    # One example of each of two classes is sure, and one is not: b = s / max(1, 3 - 2).
    torch.testing.assert_close(threshold.limits(3, 3), torch.tensor([0.9, 0.9, 0.0]))
    said = torch.tensor([[0.95, 0.03, 0.02], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    rows = torch.tensor([2, 3, 4])
    assert threshold.chosen(stand(), said, rows).tolist() == [True, False, True]
    threshold._last = torch.tensor([UNLABELLED, UNLABELLED, 0, 0, 1])
    # b = 1 / 2 of the class that was taken once: M(b) = (1 / 2) / (3 / 2).
    torch.testing.assert_close(threshold.limits(3, 3), torch.tensor([0.9, 0.3, 0.0]))


def test_freematch_follows_what_is_said():
    threshold = SelfAdaptive(momentum=0.5)
    now = stand()
    threshold.attach(now.model, SCHEMA)
    said = torch.tensor([[0.8, 0.1, 0.1], [0.4, 0.3, 0.3]])
    chosen = threshold.chosen(now, said, torch.tensor([2, 3]))
    known = adaptive(now.model)
    assert float(known.level) == pytest.approx(0.5 / 3 + 0.5 * 0.6)
    third = 0.5 / 3
    torch.testing.assert_close(known.share, torch.tensor([third + 0.3, third + 0.1, third + 0.1]))
    torch.testing.assert_close(known.histogram, torch.tensor([third + 0.5, third, third]))
    assert chosen.tolist() == [True, False]
    strong = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    before = known.share / known.histogram
    # Only class 0 is said: of p' / h' it alone is above 0.
    wanted = float((before / before.sum())[1:].sum()) * math.log(1e-12)
    found = unevenness(now.model, strong, torch.tensor([True, False]))
    assert float(found) == pytest.approx(wanted, rel=1e-4)


def test_a_support_vector_machine_goes_by_margins():
    method = Confident(mixed(), Terms(strong=False, source="round", hinge=True), Margin(1.0))
    found = method.loss(stand(method=method), BATCH, SEED)
    # Of X: 0 for the first, whose class leads by 2; the second's is 1 behind the best, and by 0
    # behind another, which does not count.
    own = (0 + (1 + 1)) / 2
    # Of U the first and the last lead by more than 1, and are as their classes want them.
    assert float(found) == pytest.approx(own, rel=1e-6)


@pytest.mark.parametrize(("seed", "partners"), [(1, [1, 2]), (9, [1, 1])])
def test_semifl_by_hand(seed, partners):
    """Two of three are sure. Each is mixed with one of all three, and one may come twice; copies
    are as they were."""
    sharing = mixed()
    method = FixedAndMixed(sharing, threshold=0.9, weight=0.5, alpha=0.75)
    now = stand(method=method)
    found = method.loss(now, BATCH, torch.Generator().manual_seed(seed))
    draws = torch.Generator().manual_seed(seed)
    assert torch.randint(3, (2,), generator=draws).tolist() == partners
    share = float(beta_draws(0.75, 1, draws))
    # The model is not sure of the one in the middle, whose likeliest class counts all the same.
    u, labels, said = U[[0, 2]], torch.tensor([0, 1]), torch.tensor([0, 1, 1])
    mixture = share * u + (1 - share) * U[partners]
    wanted = cross_entropy(X, Y) + cross_entropy(u, labels)
    wanted = wanted + 0.5 * share * cross_entropy(mixture, labels)
    wanted = wanted + 0.5 * (1 - share) * cross_entropy(mixture, said[partners])
    torch.testing.assert_close(found, wanted)
    method.end(now)
    counts = {"unlabelled_count": 3, "kept_count": 2, "judged_count": 2, "right_count": 1}
    assert sharing.counted() == {**counts, "idle_count": 0}


@pytest.mark.parametrize(("row", "idle"), [(0, 0), (1, 1)])
def test_without_labels_a_client_is_idle_that_came_to_none_it_is_sure_of(row, idle):
    prepared = {"x": U, "y": torch.full((3,), UNLABELLED)}
    sharing = Mixed(lambda schema: Scores(), ratio=1, augmentation="none")
    sharing.begin(prepared)
    method = FixedAndMixed(sharing, threshold=0.9, weight=0.5, alpha=0.75)
    now = Stand(Scores(), 1, prepared)
    method.begin(now)
    batch = {"rows": torch.tensor([row]), "x": X[:0], "y": Y[:0], "u": U[row : row + 1]}
    assert bool(method.loss(now, batch, SEED) == 0) == bool(idle)
    method.end(now)
    assert sharing.counted()["idle_count"] == idle


def test_a_mean_teacher_follows_the_model():
    method = Consistent(mixed(), Weight(3.0, 0), decay=0.9)
    now = stand(round=2, method=method)
    first = method.loss(now, BATCH, SEED)
    torch.testing.assert_close(first, cross_entropy(X, Y))  # Both say the same.
    with torch.no_grad():
        now.model.weight.fill_(2.0)
    found = method.loss(now, BATCH, SEED)
    both = torch.cat([X, U])
    apart = ((2 * both).softmax(1) - (1.1 * both).softmax(1)).square().mean()
    torch.testing.assert_close(found, cross_entropy(2 * X, Y) + 3 * apart)
    method.end(now)
    assert now.model.get_submodule("teacher").weight == pytest.approx(0.9 * 1.1 + 0.2)


def test_in_its_first_round_a_teacher_is_the_plain_mean():
    method = Consistent(mixed(), Weight(3.0, 0), decay=0.6)
    now = stand(method=method)
    weights = (2.0, 4.0, 9.0)
    for weight in weights:
        method.loss(now, BATCH, SEED)
        with torch.no_grad():
            now.model.weight.fill_(weight)
    method.end(now)
    # After two steps their mean, 3; from the third on 1 / 3 is less than 1 - decay.
    assert now.model.get_submodule("teacher").weight == pytest.approx(0.6 * 3 + 0.4 * 9)


def test_the_teacher_is_judged_and_is_the_result(tmp_path):
    paradigm = registry.build("paradigm", "mean-teacher", {}, lambda schema: Scores())
    model = paradigm.build(replace(SCHEMA, shape=(3,)))
    with torch.no_grad():
        model.weight.fill_(-1.0)
        model.get_submodule("teacher").weight.fill_(2.0)
    prepared = {"x": X, "y": Y}
    found = paradigm.evaluate(model.eval(), prepared)
    assert found["loss"] == pytest.approx(2 * float(cross_entropy(2 * X, Y)))
    assert paradigm.predictions(model, prepared, None)[1].tolist() == X.argmax(1).tolist()
    tensors = {"weight": torch.tensor(-1.0), "teacher.weight": torch.tensor(2.0)}
    assert learnt(paradigm, tensors) == {"weight": torch.tensor(2.0)}
    told = experiment("mean-teacher", rounds=2, data={"test": "digits"})
    result = umbel.simulate(told, out=tmp_path / "run")
    data = load_dataset("digits")
    alone = registry.build("model", "mlp", {"hidden": [32]}, data.schema)
    alone.load_state_dict(result.model)
    said = alone(to_inputs(data.train["x"], data.schema)).argmax(1)
    scored = (said == torch.tensor(data.train["y"])).float().mean()
    assert evaluation(result.records[-1], "central", "accuracy") == pytest.approx(float(scored))


def test_a_batch_holds_some_of_both_and_an_epoch_all():
    prepared = {"x": torch.arange(12.0), "y": torch.tensor([0, 1] + [UNLABELLED] * 10)}
    sharing = Mixed(lambda schema: Scores(), ratio=2, augmentation="none")
    batches = list(sharing.batches(prepared, 2, torch.Generator()))
    assert [len(batch["u"]) for batch in batches] == [4, 4, 2]
    assert sorted(torch.cat([batch["u"] for batch in batches]).tolist()) == list(range(2, 12))
    assert all(sorted(batch["y"].tolist()) == [0, 1] for batch in batches)
    none = {"x": torch.arange(3.0), "y": torch.full((3,), UNLABELLED)}
    [batch] = sharing.batches(none, 2, torch.Generator())
    assert len(batch["x"]) == 0 and len(batch["u"]) == 3


# Through the public door.


def experiment(name, clients=3, rounds=3, **sections) -> Experiment:
    data = {"source": "digits", "clients": clients, "labels": 150, "held_out": 0.2}
    return Experiment(
        experiment={"rounds": rounds, "seed": 4},
        data=data | sections.pop("data", {}),
        model=sections.pop("model", {"name": "mlp", "hidden": [32]}),
        paradigm={"name": name, **sections.pop("paradigm", {})},
        client={"batch_size": 10, "steps": 40, "optimizer": {"name": "sgd", "lr": 0.3}},
        **sections,
    )


@pytest.mark.parametrize("name", METHODS)
def test_hidden_labels_reach_no_step(name):
    """Lies about the labels that are hidden: only the count of right ones tells of them."""
    shard = make_shards(experiment(name)).shard(0)
    hidden = shard.arrays["y"] == UNLABELLED
    assert 1000 > hidden.sum() > 100 and (shard.arrays[TRUTH] != UNLABELLED).all()
    models, sums = [], []
    for shift in (0, 3):
        truth = np.where(hidden, (shard.arrays[TRUTH] + shift) % 10, shard.arrays[TRUTH])
        lying = replace(shard, arrays={**shard.arrays, TRUTH: truth})
        model, told = trained(name, lying)
        models.append(model.state_dict())
        sums.append(told)
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])
    for told in sums:
        told.pop("right_count", None)
    assert sums[0] == sums[1]


def trained(name, shard):
    """A model that a client has trained for two epochs of a late round, and its metric sums."""
    paradigm = registry.build("paradigm", name, {}, small)
    with torch_seeded(1, purpose="model"):
        model = paradigm.build(shard.schema)
    prepared = paradigm.prepare(shard)
    trainer = Trainer(paradigm, Plain(), Effort(2, None, 10, None))
    run = LocalRun(model, {}, {}, {}, 9, prepared)
    descent = GradientDescent(trainable(model), 0.1)
    generator = torch.Generator().manual_seed(2)
    with torch_seeded(3, purpose="torch"):
        return model, trainer.train(prepared, run, descent, None, generator).metrics


def small(schema):
    return registry.build("model", "mlp", {"hidden": [16]}, schema)


@pytest.mark.parametrize("strategy", ["fedadam", "fedprox", "scaffold", "median"])
@pytest.mark.parametrize("name", ["freematch", "mean-teacher"])
def test_with_every_kind_of_strategy(tmp_path, name, strategy):
    told = experiment(name, rounds=2, strategy={"name": strategy})
    result = umbel.simulate(told, out=tmp_path / "run")
    assert [row["status"] for row in result.records[-1]["clients"]] == ["ok"] * 3


def test_two_workers_make_the_same_bits_and_counts(tmp_path):
    told = experiment("freematch", rounds=2, data={"labelled": 0.1, "labels": None})
    one = umbel.simulate(told, out=tmp_path / "one")
    sections = told.model_dump(exclude_unset=True) | {"simulation": {"workers": 2}}
    two = umbel.simulate(Experiment(**sections), out=tmp_path / "two")
    assert one.sha256 == two.sha256
    assert [r["metrics"] for r in one.records] == [r["metrics"] for r in two.records]


def test_the_report_draws_how_many_pseudo_labels_were_kept_and_right(tmp_path):
    result = umbel.simulate(experiment("pseudo-label", rounds=2), out=tmp_path / "run")
    learnt = report_figures.learning(result.records)
    assert [figure.title for figure in learnt].count("Pseudo-labels by round") == 1
    kept, right = (trace["y"] for trace in learnt[-1].data)
    told = [record["metrics"]["train"] for record in result.records]
    assert kept == [1.0, 1.0]
    assert right == [row["right_count"] / row["kept_count"] for row in told]
    plain = umbel.simulate(experiment("supervised", rounds=1), out=tmp_path / "plain")
    titles = [figure.title for figure in report_figures.learning(plain.records)]
    assert "Pseudo-labels by round" not in titles


def some_labelled(name, seed, data, **parameters) -> Experiment:
    """Five clients, of which some have labels and the others none."""
    return Experiment(
        experiment={"rounds": 15, "seed": seed},
        data={"source": "optdigits", "clients": 5, **data},
        model={"name": "mlp", "hidden": [32]},
        paradigm={"name": name, **parameters},
        client={"batch_size": 10, "steps": 40, "optimizer": {"name": "sgd", "lr": 0.5}},
        evaluation={"every": 15},
    )


def judged(told, shard, model=None):
    """The share of what a client holds out of which a model says the truth; without one, that
    with which a run begins."""
    paradigm = build_paradigm(told)
    module = build_model(paradigm, told, shard.schema)
    _, held = held_out_rows(len(shard), told.data.held_out, told.experiment.seed, shard.client)
    own = {name: shard.arrays[name][held] for name in ("x", "y")}
    assert (own["y"] != UNLABELLED).all() and len(held) > 100
    test = CentralTest(paradigm, module, replace(shard, arrays=own))
    return test.score(module.state_dict() if model is None else model)["accuracy"]


def test_a_client_without_labels_takes_part_and_improves(tmp_path):
    """By its own examples, more than where the two that have labels train without the others."""
    data = {"labelled_clients": 0.4, "labelled": 0.05}
    told = some_labelled("pseudo-label", 4, data, threshold=0.95, ratio=8)
    shards = make_shards(told)
    without = [k for k in range(5) if (shards.labels(k) == UNLABELLED).all()]
    assert len(without) == 3
    result = umbel.simulate(told, out=tmp_path / "run")
    clients = result.records[-1]["clients"]
    assert [row["status"] for row in clients] == ["ok"] * 5
    assert min(row["examples"] for row in clients) > 600
    alone = umbel.simulate(some_labelled("supervised", 4, data), out=tmp_path / "alone")
    with_labels = [row["client"] for row in alone.records[-1]["clients"] if row["status"] == "ok"]
    assert with_labels == [f"client-{k}" for k in range(5) if k not in without]
    begun, ended, labelled_alone = (
        [judged(told, shards.shard(k), model) for k in without]
        for model in (None, result.model, alone.model)
    )
    assert all(after > before + 0.5 for before, after in zip(begun, ended, strict=True))
    assert sum(ended) / 3 > sum(labelled_alone) / 3 + 0.02


def test_a_client_with_all_its_labels_loses_little_by_clients_that_have_none(tmp_path):
    """By its own examples, at most a point against `supervised`, which the others fail."""
    data = {"labelled_clients": 0.6, "held_out": 0.4}
    told = some_labelled("pseudo-label", 7, data, threshold=0.95)
    shards = make_shards(told)
    with_all = [k for k in range(5) if (shards.labels(k) != UNLABELLED).all()]
    assert len(with_all) == 3
    ended = umbel.simulate(told, out=tmp_path / "run").model
    alone = some_labelled("supervised", 7, data)
    supervised = umbel.simulate(alone, out=tmp_path / "alone").model
    for shard in map(shards.shard, with_all):
        assert judged(told, shard, ended) > judged(told, shard, supervised) - 0.01


@pytest.mark.parametrize("name", [name for name in METHODS if name != "svm"])
def test_a_client_with_all_its_labels_trains_as_with_supervised(name):
    shard = make_shards(experiment("supervised", data={"labels": None})).shard(0)
    models = [trained(paradigm, shard)[0].state_dict() for paradigm in (name, "supervised")]
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[1])


def test_only_the_server_has_labels(tmp_path):
    """It has as many of each class as it may, and the clients lack those examples."""
    data = {"labels": 100, "labels_at": "server", "held_out": 0.0, "source": "optdigits"}
    told = experiment("semifl", data=data, rounds=4, strategy="semifl")
    shards = make_shards(told)
    found = load_dataset("optdigits")
    assert sum(len(shards.shard(k)) for k in range(3)) == len(found.train["y"]) - 100
    assert all((shards.shard(k).arrays["y"] == UNLABELLED).all() for k in range(3))
    _, own = server_examples(told, found)
    assert np.bincount(own.arrays["y"]).tolist() == [10] * 10
    result = umbel.simulate(told, out=tmp_path / "run")
    # At first nobody is sure of anything: the server's own training alone moves the model.
    kept = [record["metrics"]["train"]["kept_count"] for record in result.records]
    assert kept[0] == 0 < kept[-1]
    assert evaluation(result.records[-1], "central", "accuracy") > 0.5
    given = umbel.simulate(told, out=tmp_path / "object", strategy=semifl())
    assert given.sha256 == result.sha256
    with pytest.raises(BadInput, match="the server has all labels"):
        umbel.simulate(told, out=tmp_path / "untaught", strategy=fedavg())


def test_labels_in_all_are_even_by_class():
    told = experiment("fixmatch", clients=4, data={"labels": 57, "held_out": 0.0})
    labels = np.concatenate([make_shards(told).shard(k).arrays["y"] for k in range(4)])
    counts = np.bincount(labels[labels >= 0])
    assert counts.sum() == 57 and set(counts) == {5, 6}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["paradigm.threshold=1.5"], r"paradigm.threshold: 1.5 is not in \[0, 1\]"),
        (["paradigm.ratio=0"], "ratio: 0 is not at least 1"),
        (["paradigm.augmentation=sharp"], "augmentation: 'sharp' is unknown"),
        (["paradigm.augmentation={name='image', fip=true}"], "augmentation.fip: unknown"),
        (["paradigm.augmentation={name='image', shift=2.0}"], r"shift: 2 is not in \[0, 1\)"),
        (["paradigm.augmentation={name='none', shift=0.1}"], "shift: unknown; none is valid here"),
        (["paradigm.augmentation={shfit=0.1}"], "shfit: unknown; did you mean 'shift'"),
        (["paradigm.augmentation={name='auto', shift=2.0}"], r"shift: 2 is not in \[0, 1\)"),
        (
            ["paradigm.augmentation={name='auto', noise=0.1}"],
            "paradigm.augmentation.noise: unknown",
        ),
        (["paradigm.augmentation=text"], "text is for other examples; these take image"),
        (["paradigm.augmentation=vector"], "vector is for other examples; these take image"),
        (["data.labels=5000"], "5000 is more than the 1437 labels of digits that clients train on"),
        (
            ["data.labels_at=server", "paradigm=supervised", "strategy=semifl"],
            "supervised learns from labels, and clients have none: the server has all",
        ),
        (["data.labelled=0.5"], "labels: in place of labelled"),
        (["data.labels_at=server"], "the server has all labels .data.labels_at.; take semifl"),
        (["paradigm.name=svm", "paradigm.margin=-1.0"], "margin: -1 is less than 0"),
        (["paradigm.name=semifl", "paradigm.alpha=0.0"], "alpha: 0 is not above 0"),
        (["strategy.name=semifl"], "semifl needs examples of the server's own; set data.server"),
        (["strategy={name='rscfed', groups=0}"], "groups: 0 is less than 1"),
        (["paradigm={name='rscfed', temperature=0.0}"], "temperature: 0 is not above 0"),
        (["paradigm={name='rscfed', decay=1.0}"], r"decay: 1 is not in \[0, 1\)"),
        (["data.labels_at=server", "data.server=10"], '"server" needs labels, and no data.server'),
    ],
)
def test_what_is_refused(tmp_path, settings, said):
    path = tmp_path / "exp.toml"
    path.write_text(experiment("fixmatch").to_toml())
    with pytest.raises(BadInput, match=said):
        umbel.simulate(load(path, settings), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nothing_to_learn_from_is_refused(tmp_path):
    none = experiment("fixmatch", data={"labels": None, "labelled": 0.0})
    with pytest.raises(BadInput, match="data.labelled: no client has a label; raise it"):
        umbel.simulate(none, out=tmp_path / "run")
    whole = (
        {"labels": None},
        {"labels": 1797, "held_out": 0.0},
        {"labels": None, "labelled": 0.9999},
    )
    for data in whole:
        with pytest.raises(
            BadInput, match="fixmatch learns from examples without a label, and all"
        ):
            umbel.simulate(experiment("fixmatch", data=data), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Notes(Silent):
    """Keeps what a run tells of classes without a label."""

    def __init__(self):
        self.said = []

    def note(self, text):
        if "a label of" in text:
            self.said.append(text)


def test_a_class_that_nobody_has_a_label_of_is_named(tmp_path):
    told = experiment("fixmatch", rounds=1, data={"labels": 4, "held_out": 0.0})
    umbel.simulate(told, out=tmp_path / "run", observer=(notes := Notes()))
    [warning] = notes.said
    assert warning.startswith("no client has a label of ") and warning.count(",") >= 4
    assert warning.endswith("and 1 more, so they are never learnt")


def test_a_class_that_a_server_with_all_labels_lacks_is_named(tmp_path):
    data = {"labels": 4, "labels_at": "server"}
    told = experiment("semifl", rounds=1, data=data, strategy="semifl")
    umbel.simulate(told, out=tmp_path / "run", observer=(notes := Notes()))
    own = server_examples(told, load_dataset("digits"))[1]
    lacking = [code for code in range(10) if code not in own.arrays["y"]]
    shown = ", ".join(map(str, lacking[:5]))
    assert notes.said == [
        f"neither a client nor the server has a label of {shown} and 1 more, so they are never "
        "learnt"
    ]


@pytest.mark.parametrize(
    ("strategy", "known", "said"),
    [
        ("semifl", range(10), []),
        ("semifl", range(9), ["neither a client nor the server has a label of 9, so it is never"]),
        ("fedavg", range(10), ["no client has a label of 9, so it is never"]),
    ],
    ids=["taught", "lacking", "not asked"],
)
def test_what_a_server_teaches_is_not_said_to_be_lacking(tmp_path, strategy, known, said):
    """No client has a label of class 9, and the server may."""
    digits = load_dataset("digits").train
    own = np.isin(digits["y"], known)
    np.savez(tmp_path / "own.npz", x=digits["x"][own], y=digits["y"][own], classes=range(10))
    shown = np.where((digits["y"] == 9) | (np.arange(1797) > 900), UNLABELLED, digits["y"])
    np.savez(tmp_path / "few.npz", x=digits["x"], y=shown, classes=range(10))
    data = {"source": str(tmp_path / "few.npz"), "server": str(tmp_path / "own.npz")}
    told = experiment("fixmatch", rounds=1, data={"labels": None, **data}, strategy=strategy)
    umbel.simulate(told, out=tmp_path / "run", observer=(notes := Notes()))
    assert [text.removesuffix(" learnt") for text in notes.said] == said


def test_features_that_are_no_numbers_are_counted(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    x[[3, 17], 1] = np.nan
    np.savez(tmp_path / "table.npz", x=x, y=np.arange(60) % 2)
    told = experiment("fixmatch", clients=1, data={"source": str(tmp_path / "table.npz")})
    with pytest.raises(BadInput, match="row 4, and 1 more: holds a value that is missing or not"):
        umbel.simulate(told, out=tmp_path / "run")


def test_labels_that_no_drawn_client_has_are_refused(tmp_path):
    """One of three owners has labels, and another is drawn to keep its own."""
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 2
    owners = np.repeat(["a", "b", "c"], 20)
    np.savez(tmp_path / "d.npz", x=x, y=np.where(owners == "a", y, UNLABELLED), groups=owners)
    data = {"source": str(tmp_path / "d.npz"), "partition": "natural", "labels": None}
    told = experiment("fixmatch", data=data | {"labelled_clients": 0.34})
    with pytest.raises(BadInput, match="data.labelled_clients: no client has a label; raise it, "):
        umbel.simulate(told, out=tmp_path / "run")


def test_a_server_that_is_told_of_no_example_without_a_label_refuses(tmp_path, monkeypatch):
    """Over a network the server alone can see it: here the look at the divided data is left out."""
    monkeypatch.setattr("umbel.simulation.engine.check_learnable", lambda *_: None)
    with pytest.raises(BadInput, match="without a label, and no client has one; take supervised"):
        umbel.simulate(experiment("fixmatch", data={"labels": None}), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_client_had_counted_when_it_failed_is_not_the_next_ones():
    paradigm = registry.build("paradigm", "fixmatch", {"augmentation": "none"}, lambda _: Scores())
    model = paradigm.build(SCHEMA)
    prepared = {"x": torch.cat([X, U]), "y": torch.tensor([1, -1, -1, -1])}
    for _ in range(2):  # The first time it does not come to the end.
        paradigm.begin(model, prepared, 1)
        paradigm.loss(model, BATCH, SEED)
    assert paradigm.end()["unlabelled_count"] == len(U)


class Own(Scores):
    """A model one of whose parts has a name that some methods give to theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.psi = torch.nn.Linear(2, 1)


def test_a_part_of_a_model_that_is_called_as_a_helper_is_its_own():
    paradigm = registry.build("paradigm", "fixmatch", {}, lambda _: Own())
    tensors = paradigm.build(SCHEMA).state_dict()
    assert set(learnt(paradigm, tensors)) == {"weight", "psi.weight", "psi.bias"}
    for name in ("mean-teacher", "freematch"):
        paradigm = registry.build("paradigm", name, {}, lambda _: Own())
        assert set(learnt(paradigm, paradigm.build(SCHEMA).state_dict())) == set(tensors)
    with pytest.raises(BadInput, match="its own part 'psi' is in the place of psi that this"):
        registry.build("paradigm", "fedmatch", {}, lambda _: Own()).build(SCHEMA)
