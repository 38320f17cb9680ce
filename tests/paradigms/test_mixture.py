"""A Gaussian mixture by federated EM, beside scikit-learn's with the data in one place."""

from __future__ import annotations

import re
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.stats import chisquare
from sklearn.mixture import GaussianMixture as Theirs

import umbel
from umbel.client.policy import Leave, Policy
from umbel.client.release import release
from umbel.data.shard import Shard
from umbel.errors import BadInput, Declined, UmbelError
from umbel.experiment import Experiment, check
from umbel.exporting.run import export
from umbel.messages import Envelope
from umbel.paradigms.base import LocalRequest
from umbel.paradigms.semi_supervised.em import COUNT, NAMED, GaussianMixture
from umbel.paradigms.semi_supervised.start import CANDIDATES, KEYS, Start, gather
from umbel.rounds import evaluation
from umbel.schema import Schema
from umbel.server.observer import Silent

REGULARISATION = 1e-3
WIDTH, COMPONENTS = 5, 3


@pytest.fixture(scope="module")
def examples():
    """Three overlapping clouds far from 0, that single precision can hold."""
    rng = np.random.default_rng(5)
    centres = 1000 + rng.normal(0, 2, (COMPONENTS, WIDTH))
    y = rng.integers(0, COMPONENTS, 400)
    mix = rng.normal(0, 1, (COMPONENTS, WIDTH, WIDTH))
    x = centres[y] + np.einsum("nij,nj->ni", mix[y], rng.normal(0, 1, (400, WIDTH)))
    return x.astype(np.float32), y


def experiment(tmp_path, examples, *, clients=3, rounds=6, weights=None, **paradigm):
    x, y = examples
    np.savez(tmp_path / "data.npz", x=x, y=y, classes=np.array(list("012")))
    labelled = paradigm.pop("labelled", 1.0)
    model = {"name": "mlp"} if weights is None else {"name": "mlp", "weights": str(weights)}
    return Experiment(
        experiment={"rounds": rounds, "seed": 3},
        data={
            "source": str(tmp_path / "data.npz"),
            "clients": clients,
            "partition": {"name": "dirichlet", "alpha": 1.0} if clients > 1 else "iid",
            "held_out": 0.0,
            "labelled": labelled,
        },
        model=model,
        paradigm={
            "name": "mixture",
            "components": COMPONENTS,
            "regularisation": REGULARISATION,
            **paradigm,
        },
    )


def beginning(x, covariance):
    """A mixture to start from that is a bad one, so that EM has far to go."""
    rng = np.random.default_rng(9)
    means = x[rng.choice(len(x), COMPONENTS, replace=False)].astype(np.float64)
    whole = np.cov(x.T.astype(np.float64), bias=True)
    spread = whole if covariance == "full" else np.diag(whole)
    return {
        "weights": torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64),
        "means": torch.tensor(means),
        "covariances": torch.tensor(np.stack([spread] * COMPONENTS)),
    }


def scikit_learns(x, start, covariance, rounds):
    full = covariance == "full"
    spread = start["covariances"].numpy()
    theirs = Theirs(
        COMPONENTS,
        covariance_type=covariance,
        reg_covar=REGULARISATION,
        tol=0,
        max_iter=rounds,
        weights_init=start["weights"].numpy(),
        means_init=start["means"].numpy(),
        precisions_init=np.linalg.inv(spread) if full else 1 / spread,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return theirs.fit(x.astype(np.float64))


@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize("clients", [1, 3, 10])
def test_it_equals_scikit_learns_from_the_same_start(tmp_path, examples, clients, covariance):
    x, rounds = examples[0], 25
    start = beginning(x, covariance)
    save_file(start, tmp_path / "start.safetensors")
    sections = {"weights": tmp_path / "start.safetensors", "covariance": covariance}
    made = experiment(tmp_path, examples, clients=clients, rounds=rounds, **sections)
    result = umbel.simulate(made, out=tmp_path / "run")
    ours = load_file(tmp_path / "run" / "model.safetensors")
    theirs = scikit_learns(x, start, covariance, rounds)
    assert set(ours) == {"weights", "means", "covariances", "names"}
    assert np.abs(theirs.means_ - start["means"].numpy()).max() > 0.5
    for name in ("weights", "means", "covariances"):
        np.testing.assert_allclose(ours[name].numpy(), getattr(theirs, name + "_"), 0, 1e-6)
    # Both tell the likelihood of the mixture that the last round began with.
    assert -result.rows[-1]["loss"] == pytest.approx(theirs.lower_bound_, abs=1e-6)
    assert all(a["loss"] >= b["loss"] for a, b in pairwise(result.rows))


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_from_means_alone_each_begins_with_the_examples_nearest_to_it(
    tmp_path, examples, covariance
):
    x, y = examples
    means = beginning(x, covariance)["means"]
    save_file({"means": means}, tmp_path / "start.safetensors")
    sections = {"weights": tmp_path / "start.safetensors", "covariance": covariance}
    made = experiment(tmp_path, examples, rounds=1, **sections)
    umbel.simulate(made, out=tmp_path / "run")
    ours = load_file(tmp_path / "run" / "model.safetensors")
    whose = np.square(x[:, None] - means.numpy()).sum(2).argmin(1)
    for place in range(COMPONENTS):
        own = x[whose == place].astype(np.float64)
        spread = np.cov(own.T, bias=True) + REGULARISATION * np.eye(WIDTH)
        spread = spread if covariance == "full" else np.diag(spread)
        np.testing.assert_allclose(ours["means"][place], own.mean(axis=0), atol=1e-8)
        np.testing.assert_allclose(ours["covariances"][place], spread, atol=1e-8)
        shares = np.bincount(y[whose == place], minlength=3) / len(own)
        np.testing.assert_allclose(ours["names"][place], shares, atol=1e-12)
    np.testing.assert_allclose(ours["weights"], np.bincount(whose) / len(x), atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=4), seed=st.integers(0, 99))
def test_sums_are_the_same_however_examples_are_divided(cuts, seed):
    rng = np.random.default_rng(seed)
    schema = Schema("classification", (2,), "float32", classes=("a", "b"))
    paradigm = GaussianMixture(NoFile(), components=2)
    model = paradigm.build(schema)
    model.means.copy_(torch.tensor(rng.normal(size=(2, 2))))
    model.progress.stage.fill_(3)
    x, y = rng.normal(size=(60, 2)).astype(np.float32), rng.integers(-1, 2, 60)

    def sums(rows):
        shard = Shard("a", schema, {"x": x[rows], "y": y[rows]})
        request = LocalRequest(4, {}, {}, torch.Generator())
        return paradigm.local_update(model, paradigm.prepare(shard), request).statistics

    whole, total = sums(slice(None)), {}
    edges = sorted({0, *cuts, 60})
    for begin, end in pairwise(edges):
        paradigm.gather(total, sums(slice(begin, end)))
    assert all(torch.allclose(total[name], whole[name], atol=1e-12) for name in whole)
    assert total[NAMED].sum() == pytest.approx((y >= 0).sum())


class NoFile:
    def __call__(self, schema):
        raise AssertionError("a mixture is no other model")

    def weights(self):
        return {}


def drawn(start, parts, chosen, number):
    """What the server chooses of the clients' examples, by a seed."""
    total = {}
    for client, own in enumerate(parts):
        coins = torch.Generator().manual_seed(1000 * number + client)
        form = start.form(1, own.shape[1], 1)
        labels = torch.full((len(own),), -1)
        gather(total, start.candidates(own, labels, form, chosen, coins))
    return total[CANDIDATES]


def test_points_are_chosen_as_by_k_means_plus_plus_in_one_place():
    """In proportion to the squared distance over all clients' examples."""
    own = torch.tensor([[0.5], [1.0], [2.0], [-1.5], [3.0], [-2.5]], dtype=torch.float64)
    parts, chosen = (own[:1], own[1:3], own[3:]), torch.zeros(1, 1, dtype=torch.float64)
    start, times = Start(2, group=1), 1500
    found = torch.cat([drawn(start, parts, chosen, number) for number in range(times)])
    counts = [(found == value).sum().item() for value in own]
    expected = own.square().flatten() / own.square().sum() * times
    assert sum(counts) == times
    assert chisquare(counts, expected.numpy()).pvalue > 0.01


def test_no_example_leaves_but_the_mean_of_a_group():
    own = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]], dtype=torch.float64)
    chosen = torch.full((1, 1), 6.0, dtype=torch.float64)
    sent = {drawn(Start(2, group=3), (own,), chosen, n).item() for n in range(50)}
    assert sent == {1.0, 11.0}
    # One whose examples all lie on points that were chosen is taken for none but for lack of others.
    there = drawn(Start(2, group=1), (chosen.repeat(4, 1), own[4:5]), chosen, 1)
    assert there.item() == 11.0


class Interrupting(Silent):
    def __init__(self, after):
        self.after = after

    def round_finished(self, record):
        if record["round"] == self.after:
            raise KeyboardInterrupt


def test_it_starts_by_itself_and_a_few_labels_name_the_components(tmp_path, examples):
    x, y = examples
    apart = (x + 12 * y[:, None].astype(np.float32), y)
    made = experiment(tmp_path, apart, rounds=8, clients=4, labelled=0.1)
    made = made.model_copy(update={"data": made.data.model_copy(update={"held_out": 0.3})})
    result = umbel.simulate(made, out=tmp_path / "run")
    assert evaluation(result.records[-1], "federated", "accuracy") > 0.95
    for after in (2, 6):
        cut = tmp_path / f"cut-{after}"
        with pytest.raises(KeyboardInterrupt):
            umbel.simulate(made, out=cut, observer=Interrupting(after))
        assert umbel.simulate(made, resume=cut).sha256 == result.sha256
    simulation = made.simulation.model_copy(update={"workers": 2})
    again = umbel.simulate(made.model_copy(update={"simulation": simulation}), out=tmp_path / "two")
    assert again.sha256 == result.sha256


def test_a_class_without_any_label_is_named(umbel, examples, tmp_path):
    x, y = examples
    file = experiment(tmp_path, (x, np.where(y == 1, -1, y)), rounds=4)
    (tmp_path / "exp.toml").write_text(file.to_toml())
    code, _, said = umbel("simulate", "exp.toml", "--out", "run")
    assert code == 0
    assert said.count("no client has a label of 1, so it is never learnt") == 1
    (tmp_path / "none").mkdir()
    file = experiment(tmp_path / "none", (x, np.full_like(y, -1)), rounds=4)
    (tmp_path / "none.toml").write_text(file.to_toml())
    code, _, said = umbel("simulate", "none.toml", "--out", "none-run")
    assert code == 2 and "label" in said and not (tmp_path / "none-run").exists()


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"components": 500, "rounds": 502}, "500 is more than the 400 examples of all clients"),
        ({"rounds": 3}, "experiment.rounds: 3 is too few for this paradigm, which takes 4"),
    ],
    ids=["examples", "rounds"],
)
def test_what_cannot_be_is_refused(tmp_path, examples, sections, told):
    with pytest.raises(BadInput, match=told):
        umbel.simulate(experiment(tmp_path, examples, **sections), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"means": torch.zeros(2, WIDTH)}, r"'means' has shape \(2, 5\), \(3, 5\) is expected"),
        ({"centres": torch.zeros(3, WIDTH)}, "'means' is missing"),
        ({"means": torch.full((3, WIDTH), torch.nan)}, "a value is not finite"),
    ],
    ids=["shape", "name", "finite"],
)
def test_a_file_that_is_no_start_is_refused(tmp_path, examples, tensors, told):
    save_file(tensors, tmp_path / "start.safetensors")
    with pytest.raises(BadInput, match=told):
        umbel.simulate(
            experiment(tmp_path, examples, weights=tmp_path / "start.safetensors"),
            out=tmp_path / "run",
        )


def test_texts_have_no_mixture():
    with pytest.raises(BadInput, match="of numbers; the examples are texts"):
        GaussianMixture(NoFile()).build(Schema("classification", (), "text", classes=("a",)))


@pytest.mark.parametrize(
    "name", ["median", "fedprox", "fedadam", "fedper", "flwr.serverapp.strategy:FedAvg"]
)
def test_a_strategy_that_would_change_the_sums_is_refused(name):
    with pytest.raises(BadInput, match="take fedavg"):
        check(Experiment(paradigm="mixture", strategy=name))


def test_statistics_that_cannot_be_are_refused():
    paradigm = GaussianMixture(NoFile(), components=2)
    schema = Schema("classification", (2,), "float32", classes=("a", "b"))
    model = paradigm.build(schema)
    form = paradigm._form(model)
    assert paradigm.fault(model, form) == ""
    assert "has shape" in paradigm.fault(model, form | {KEYS: torch.zeros(2).double()})
    model.progress.stage.fill_(3)
    form = {name: value.clone() for name, value in paradigm._form(model).items()}
    form[COUNT] -= 1
    assert paradigm.fault(model, form) == f"{COUNT} holds numbers below 0"
    total = {name: torch.zeros_like(value) for name, value in form.items()}
    total["em.second"] -= 1
    with pytest.raises(UmbelError, match="covariance of component 0 is not positive definite"):
        paradigm.absorb(model, total, 5)


def test_a_site_says_whether_its_sums_may_leave():
    reply = Envelope({"examples": 9, "metrics": {}}, {"statistics": {COUNT: torch.ones(2)}})
    assert release(Policy(leave=Leave(clip_norm=1.0)), "train", {}, reply).groups == reply.groups
    for leave in (Leave(statistics=[]), Leave(clip_norm=1.0, noise_multiplier=1.0)):
        with pytest.raises(Declined, match=r"em.count, sent beside the model, is not among"):
            release(Policy(leave=leave), "train", {}, reply)


def test_what_it_gains_each_client_is_told(tmp_path, examples):
    made = experiment(tmp_path, examples, rounds=6)
    evaluation = made.evaluation.model_copy(update={"gain": True})
    data = made.data.model_copy(update={"held_out": 0.2})
    made = made.model_copy(update={"evaluation": evaluation, "data": data})
    result = umbel.simulate(made, out=tmp_path / "run")
    assert result.gain is not None and len(result.gain.scores) == 3
    assert all(s["alone"]["accuracy"] > 0.4 for s in result.gain.scores.values())


def test_its_model_card_tells_how_to_use_it(tmp_path, examples, monkeypatch):
    made = experiment(tmp_path, examples, rounds=4, covariance="diag")
    result = umbel.simulate(made, out=tmp_path / "run")
    exported = export(tmp_path / "run", tmp_path / "model", onnx=False)
    [code] = re.findall(r"```python\n(.+?)```", (exported / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(exported)
    made = {}
    exec(code, made)
    assert made["scores"].shape == (1, COMPONENTS)
    assert torch.equal(made["model"].means, result.model["means"])
