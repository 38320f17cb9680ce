"""Rules that weigh clients, against hand-computed rounds, numpy and Flower."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flwr.serverapp.strategy.qfedavg import compute_delta_and_h
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from umbel.errors import UmbelError, UpdateRefused
from umbel.strategies import (
    Extrapolated,
    FairMean,
    LocalRun,
    NormalisedMean,
    Update,
    WeightedMean,
    together,
)
from umbel.strategies.proximal import Proximal
from umbel.strategies.telling import entropy
from umbel.strategies.weighting import WEIGHTINGS, telling, uniform


def told(client="a", value=(1.0,), examples=10, steps=1, loss=1.0, **extra):
    numbers = {name: torch.tensor([n], dtype=torch.float64) for name, n in extra.items()}
    tensors = {"w": torch.tensor(value, dtype=torch.float64), "n": torch.tensor(examples)}
    metrics = {"loss": loss * examples, "examples": float(examples)}
    return Update(client, tensors, examples, metrics, numbers, steps=steps)


def combined(rule, updates, start=(0.0,)):
    state = rule.init({"w": torch.tensor(start, dtype=torch.float64), "n": torch.tensor(0)})
    for update in updates:
        state = rule.fold(state, update)
    return rule.finish(state)


def test_two_clients_by_hand():
    updates = [
        told("a", (1.0,), 10, loss=2.0, gradient_variance=0.5, label_entropy=0.0),
        told("b", (4.0,), 30, loss=1.0, gradient_variance=0.25, label_entropy=0.7),
    ]
    means = {"examples": 3.25, "uniform": 2.5, "loss": 2.8, "inverse-variance": 3.0}
    for name, expected in {**means, "label-entropy": 4.0}.items():
        found = combined(WeightedMean(WEIGHTINGS[name]), updates)
        assert found["w"].item() == pytest.approx(expected), name
        assert found["n"].item() == 30


@pytest.mark.parametrize(
    ("name", "update", "said"),
    [
        ("loss", Update("a", {}, 5), "no training loss"),
        ("loss", told(loss=-1.0), "less than 0"),
        ("inverse-variance", told(), "no gradient variance"),
        ("inverse-variance", told(gradient_variance=0.0), "no inverse"),
        ("inverse-variance", told(gradient_variance=-1.0), "no inverse"),
        ("label-entropy", told(label_entropy=-0.1), "less than 0"),
        ("label-entropy", told(), "no label entropy"),
    ],
)
def test_a_client_that_tells_nonsense_is_refused(name, update, said):
    with pytest.raises(UpdateRefused, match=said):
        WEIGHTINGS[name](update)


def run_of(model, labels=(0, 0, 1, 2)):
    return LocalRun(model, {}, {}, {}, 1, {"y": torch.tensor(labels)}, 0.1)


def test_gradient_variance_is_numpys_beside_another_local_part():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    local = together(telling("inverse-variance"), Proximal(0.5))
    run = run_of(model)
    memo = local.begin(run)
    seen = []
    for _ in range(5):
        gradients = [torch.randn_like(p) for p in model.parameters()]
        seen.append(np.concatenate([g.numpy().ravel() for g in gradients]).astype(np.float64))
        local.gradients(memo, run, gradients)
    extra, _ = local.finish(memo, run, 5)
    expected = np.var(np.array(seen), axis=0, ddof=1).sum() / 5
    update = Update("a", {}, 1, extra=extra)
    assert 1 / WEIGHTINGS["inverse-variance"](update) == pytest.approx(expected)
    names = dict(model.named_parameters())
    sends = local.sends(names, frozenset(names))
    assert {n: (t.shape, t.dtype) for n, t in sends.items()} == {
        n: (t.shape, t.dtype) for n, t in extra.items()
    }


def test_one_step_has_no_variance():
    local, run = telling("inverse-variance"), run_of(nn.Linear(3, 2))
    memo = local.begin(run)
    local.gradients(memo, run, [torch.ones_like(p) for p in run.model.parameters()])
    with pytest.raises(UmbelError, match="smaller client.batch_size"):
        local.finish(memo, run, 1)


def test_label_entropy_is_shannons():
    local, run = telling("label-entropy"), run_of(nn.Linear(3, 2), (0, 0, 1, 2))
    extra, _ = local.finish(local.begin(run), run, 1)
    shares = np.array([0.5, 0.25, 0.25])
    assert extra["label_entropy"].item() == pytest.approx(-(shares * np.log(shares)).sum())
    assert entropy(torch.tensor([0, 7])).item() == 0


def test_fednova_by_hand():
    """p = (1/4, 3/4), tau = (2, 6): tau_eff = 5; x' = 5 * (1/4 * 2/2 + 3/4 * 6/6)."""
    updates = [told("a", (2.0,), 10, steps=2), told("b", (6.0,), 30, steps=6)]
    assert combined(NormalisedMean(), updates)["w"].item() == pytest.approx(5.0)
    two = combined(NormalisedMean(weight=uniform), updates, start=(1.0,))["w"].item()
    assert two == pytest.approx(1 + 4 * (0.5 * 1 / 2 + 0.5 * 5 / 6))
    with pytest.raises(UpdateRefused, match="no step"):
        NormalisedMean().fold(NormalisedMean().init({}), told(steps=0))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 17])
def test_fednovas_norm_is_how_far_torchs_momentum_goes(rho, steps):
    w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([w], lr=1.0, momentum=rho)
    for _ in range(steps):
        w.grad = -torch.ones(1, dtype=torch.float64)
        optimizer.step()
    assert NormalisedMean(rho).work(steps) == pytest.approx(w.item())


@pytest.mark.parametrize("steps", [1, 2, 17])
def test_fednovas_norm_is_how_far_a_proximal_term_lets_torch_go(steps):
    rate, mu = 0.1, 0.7
    w = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([w], lr=rate)
    for _ in range(steps):
        w.grad = -torch.ones(1, dtype=torch.float64) + mu * w.detach()
        optimizer.step()
    rule = NormalisedMean(mu=mu, learning_rate=rate)
    assert rule.work(steps) == pytest.approx(w.item() / rate)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"mu": -1.0}, "mu: -1.0 is less than 0"),
        ({"mu": 0.1}, "times the learning rate 0.0"),
        ({"mu": 0.1, "learning_rate": 0.1, "momentum": 0.5}, "beside no momentum only"),
    ],
)
def test_fednovas_impossible_numbers_are_refused(numbers, said):
    with pytest.raises(ValueError, match=said):
        NormalisedMean(**numbers)


def test_fedexp_by_hand():
    """Changes (3, 0) and (0, 1): mean (1.5, .5), so eta = 10 / (2 * 2 * (2.5 + eps)) < 1 ..."""
    near = [told("a", (3.0, 0.0)), told("b", (0.0, 1.0))]
    mean = combined(Extrapolated(), near, (0.0, 0.0))["w"]
    torch.testing.assert_close(mean, torch.tensor([1.5, 0.5], dtype=torch.float64))
    # ... and (3, 1), (-3, 1): mean (0, 1), so eta = 20 / (2 * 2 * (1 + 0.25)) = 4.
    apart = [told("a", (3.0, 1.0)), told("b", (-3.0, 1.0))]
    moved = combined(Extrapolated(epsilon=0.25), apart, (0.0, 0.0))["w"]
    torch.testing.assert_close(moved, torch.tensor([0.0, 4.0], dtype=torch.float64))


@pytest.mark.parametrize("q", [0.0, 0.1, 2.0])
def test_fair_mean_is_flowers_q_weights(q):
    rng = np.random.default_rng(1)
    start = rng.normal(size=6)
    updates = [told(str(k), rng.normal(size=6), loss=rng.random() + 0.1) for k in range(5)]
    rate, total, h = 0.2, np.zeros(6), 0.0
    for update in updates:
        loss = update.metrics["loss"] / update.metrics["examples"]
        own = [update.tensors["w"].numpy().copy()]
        [delta], part = compute_delta_and_h([start.copy()], own, q, 1 / rate, loss)
        total, h = total + delta, h + part
    found = combined(FairMean(q, rate), updates, start)["w"].numpy()
    np.testing.assert_allclose(found, start - total / h, rtol=1e-6)


RULES = [
    *(WeightedMean(weight) for weight in WEIGHTINGS.values()),
    NormalisedMean(),
    NormalisedMean(0.9),
    NormalisedMean(mu=0.5, learning_rate=0.1),
    Extrapolated(),
    FairMean(q=0.0),
]
VALUES = st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=2)


@settings(deadline=None, max_examples=20)
@given(VALUES, st.integers(1, 50), st.integers(1, 50), st.integers(1, 6))
def test_equal_updates_give_that_update(value, examples, steps, clients):
    for rule in RULES:
        updates = [
            told(str(k), value, examples, steps, gradient_variance=0.3, label_entropy=1.0)
            for k in range(clients)
        ]
        found = combined(rule, updates, (5.0, -5.0))["w"]
        torch.testing.assert_close(
            found, torch.tensor(value, dtype=torch.float64), rtol=1e-9, atol=1e-9
        )


@settings(deadline=None, max_examples=20)
@given(st.lists(st.tuples(VALUES, st.integers(1, 9)), min_size=1, max_size=6))
def test_scaling_all_weights_changes_nothing(cohort):
    for make in (WeightedMean, lambda w: NormalisedMean(0.5, w), lambda w: Extrapolated(1e-3, w)):
        updates = [told(str(k), value, n, steps=n) for k, (value, n) in enumerate(cohort)]
        plain = combined(make(lambda u: float(u.examples)), updates, (1.0, 2.0))["w"]
        scaled = combined(make(lambda u: 1000.0 * u.examples), updates, (1.0, 2.0))["w"]
        torch.testing.assert_close(plain, scaled, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rule", [NormalisedMean(), Extrapolated()])
def test_a_running_variance_is_averaged_and_never_extrapolated(rule):
    rule = rule.among(frozenset({"w"}))
    model = {"w": torch.zeros(1), "variance": torch.ones(1)}
    state = rule.init(model)
    for client, w, variance, steps in (("a", 3.0, 0.1, 9), ("b", -2.9, 0.3, 1)):
        tensors = {"w": torch.tensor([w]), "variance": torch.tensor([variance])}
        state = rule.fold(state, Update(client, tensors, 10, steps=steps))
    assert rule.finish(state)["variance"].item() == pytest.approx(0.2)
