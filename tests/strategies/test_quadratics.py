"""Where strategies settle on quadratic losses, against closed forms.

k steps of descent at rate h from w leave client k at `b + (1 - h a)^k (w - b)`: a change of
`(1 - (1 - h a)^k) (b - w)`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import quadratic
from quadratic import CURVATURE, EXAMPLES

import umbel
from umbel.tensors import read_tensors

UNIFORM = np.ones(quadratic.CLIENTS)
RATE, STEPS = 0.3, 5


def end(strategy, out: Path, **sections):
    result = umbel.simulate(quadratic.experiment(strategy, **sections), out=out)
    return read_tensors(result.folder / "model.safetensors")[0]["w"].numpy()


def reach(steps, rate=RATE, curvature=CURVATURE):
    return 1 - (1 - rate * curvature) ** np.reshape(steps, (-1, 1))


@pytest.mark.parametrize(("weighting", "weights"), [("examples", EXAMPLES), ("uniform", UNIFORM)])
def test_fedavg_settles_where_the_changes_cancel_and_not_at_the_optimum(
    tmp_path, weighting, weights
):
    found = end({"name": "fedavg", "weighting": weighting}, tmp_path / "run")
    expected = quadratic.settled(weights[:, None] * reach(STEPS))
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.abs(found - quadratic.optimum(weights)).max() > 0.05


def test_fedsgd_reaches_the_optimum(tmp_path):
    one = {"client": {"steps": None, "epochs": 1}}
    found = end("fedsgd", tmp_path / "run", **one)
    np.testing.assert_allclose(found, quadratic.optimum(EXAMPLES), atol=1e-9)


def test_fedprox_settles_where_its_damped_changes_cancel(tmp_path):
    mu = 2.0
    found = end({"name": "fedprox", "mu": mu}, tmp_path / "run")
    stiff = CURVATURE + mu
    pull = EXAMPLES[:, None] * CURVATURE / stiff * reach(STEPS, curvature=stiff)
    np.testing.assert_allclose(found, quadratic.settled(pull), atol=1e-9)


@pytest.mark.parametrize("parameters", [{}, {"learning_rate": 0.5}, {"weighting": "examples"}])
def test_scaffold_reaches_the_true_optimum(tmp_path, parameters):
    found = end({"name": "scaffold", **parameters}, tmp_path / "run")
    np.testing.assert_allclose(found, quadratic.optimum(UNIFORM), atol=1e-8)


def test_scaffold_reaches_it_with_a_part_of_the_population_too(tmp_path):
    found = end(
        {"name": "scaffold", "fraction": 0.67}, tmp_path / "run", experiment={"rounds": 120}
    )
    np.testing.assert_allclose(found, quadratic.optimum(UNIFORM), atol=1e-6)


@pytest.mark.parametrize("fraction", [1.0, 0.67])
def test_feddyn_reaches_the_true_optimum(tmp_path, fraction):
    wanted = {"name": "feddyn", "alpha": 1.0, "fraction": fraction}
    found = end(wanted, tmp_path / "run", experiment={"rounds": 150})
    np.testing.assert_allclose(found, quadratic.optimum(UNIFORM), atol=1e-6)


def batched(rate, momentum=0.0):
    """Batches of one: client k takes as many steps as it has examples."""
    optimizer = {"name": "sgd", "lr": rate, "momentum": momentum}
    return {
        "client": {"steps": None, "epochs": 1, "batch_size": 1, "optimizer": optimizer},
        "experiment": {"rounds": round(8 / rate)},
    }


def test_fednova_settles_by_its_closed_form_and_nears_the_optimum_where_fedavg_does_not(tmp_path):
    goal = quadratic.optimum(EXAMPLES)
    errors = {"fedavg": [], "fednova": []}
    for rate in (0.1, 0.05):
        pull = EXAMPLES[:, None] * reach(EXAMPLES, rate)
        for name, scale in (("fedavg", 1), ("fednova", EXAMPLES[:, None])):
            found = end(name, tmp_path / f"{name}-{rate}", **batched(rate))
            np.testing.assert_allclose(found, quadratic.settled(pull / scale), atol=1e-6)
            errors[name].append(np.abs(found - goal).max())
    # FedNova's distance is the local steps' own, and goes with the rate; FedAvg's stays.
    assert errors["fednova"][1] < 0.65 * errors["fednova"][0] < 0.65 * errors["fedavg"][0]
    assert errors["fedavg"][1] > 0.8 * errors["fedavg"][0]


def test_fednova_divides_by_the_norm_of_momentums_steps(tmp_path):
    rate, rho = 0.1, 0.5
    sections = batched(rate, momentum=rho)
    found = end({"name": "fednova", "momentum": rho}, tmp_path / "run", **sections)
    pull = []
    for steps, curvature in zip(EXAMPLES, CURVATURE, strict=True):
        error, velocity = np.ones_like(curvature), np.zeros_like(curvature)
        for _ in range(steps):
            velocity = rho * velocity + curvature * error
            error = error - rate * velocity
        norm = sum((1 - rho**j) / (1 - rho) for j in range(1, steps + 1))
        pull.append((1 - error) / norm)
    expected = quadratic.settled(EXAMPLES[:, None] * np.array(pull))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_fednova_divides_by_the_norm_of_proximal_steps(tmp_path):
    rate, mu = 0.1, 2.0
    wanted = {"name": "fednova", "mu": mu, "learning_rate": rate}
    found = end(wanted, tmp_path / "run", **batched(rate))
    stiff = CURVATURE + mu
    norm = (1 - (1 - rate * mu) ** EXAMPLES) / (rate * mu)
    pull = (EXAMPLES / norm)[:, None] * CURVATURE / stiff * reach(EXAMPLES, rate, stiff)
    np.testing.assert_allclose(found, quadratic.settled(pull), atol=1e-6)


def test_momentum_at_the_server_settles_where_fedavg_does(tmp_path):
    found = end({"name": "fedavgm", "beta": 0.3}, tmp_path / "run", experiment={"rounds": 80})
    expected = quadratic.settled(EXAMPLES[:, None] * reach(STEPS))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["fedadagrad", "fedadam", "fedyogi"])
def test_adaptive_steps_settle_where_fedavg_does(tmp_path, name):
    decay = {"name": "exponential", "start": 0.5, "decay": 0.96}
    found = end(
        {"name": name, "learning_rate": decay}, tmp_path / "run", experiment={"rounds": 150}
    )
    expected = quadratic.settled(EXAMPLES[:, None] * reach(STEPS))
    np.testing.assert_allclose(found, expected, atol=0.02)


FAIR = {"name": "qfedavg", "learning_rate": RATE}


@pytest.mark.parametrize(
    "strategy", ["fedavgm", "fedyogi", "feddyn", "fednova", "fedexp", FAIR, "scaffold"], ids=str
)
def test_a_tensor_that_is_not_trained_takes_the_combined_value(tmp_path, strategy):
    wanted = quadratic.experiment(strategy, experiment={"rounds": 3})
    result = umbel.simulate(wanted, out=tmp_path / "run")
    seen = read_tensors(result.folder / "model.safetensors")[0]["seen"]
    assert seen.tolist() == [3 * STEPS]
