"""Attacks by hand, and whole runs that some of the clients attack."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

import umbel
from umbel import registry
from umbel.data import load_dataset, make_shards
from umbel.data.shard import held_out_rows
from umbel.errors import BadInput
from umbel.experiment import Experiment, load
from umbel.schema import Schema
from umbel.server.remote import run
from umbel.server.up import up
from umbel.simulation.attackers import attackers, with_poison
from umbel.simulation.attacks import (
    Backdoor,
    Gaussian,
    InnerProduct,
    LabelFlip,
    LittleIsEnough,
    Plot,
    SignFlip,
    largest_z,
)
from umbel.simulation.engine import simulate
from umbel.strategies import Chain, Quantise, Strategy

PATIENT = {"wait": 240}
"""Ray takes its time to start where much else goes on."""

IMAGES = Schema("classification", (4, 4), "uint8", ("a", "b", "c"))


def plot(*values, cohort=10):
    """Attackers that would send these values of `w` to a model of [1, 1], and each its `n`."""
    model = {"w": torch.ones(2), "n": torch.tensor(0)}
    honest = [{"w": torch.tensor(v), "n": torch.tensor(i)} for i, v in enumerate(values)]
    generators = [torch.Generator().manual_seed(i) for i in range(len(values))]
    return Plot(model, honest, cohort, generators)


def sent(attack, situation):
    forged = attack.forge(situation)
    assert [f["n"].item() for f in forged] == list(range(len(situation.honest)))
    assert all(f["w"].dtype == torch.float32 for f in forged)
    return [f["w"].tolist() for f in forged]


def test_a_sign_is_flipped():
    assert sent(SignFlip(2.0), plot([2.0, 0.0], [1.0, 4.0])) == [[-1.0, 3.0], [1.0, -5.0]]


def test_noise_has_its_deviation_and_each_attacker_its_own():
    model = {"w": torch.full((20_000,), 3.0)}
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    one, other = Gaussian(2.0).forge(Plot(model, [model, model], 10, generators))
    assert one["w"].mean().item() == pytest.approx(3.0, abs=0.1)
    assert one["w"].std().item() == pytest.approx(2.0, abs=0.1)
    assert not torch.equal(one["w"], other["w"])


def test_inner_product_manipulation_turns_the_mean_round():
    situation = plot([2.0, 1.0], [4.0, 3.0])  # the mean change is (2, 1)
    assert sent(InnerProduct(0.5), situation) == [[0.0, 0.5]] * 2


def test_a_little_is_mean_less_z_deviations():
    values = [[2.0, 1.0], [4.0, 3.0], [3.0, 8.0]]
    found = sent(LittleIsEnough(z=1.5), plot(*values))
    expected = np.mean(values, axis=0) - 1.5 * np.std(values, axis=0, ddof=1)
    np.testing.assert_allclose(found, [expected] * 3, rtol=1e-6)
    assert sent(LittleIsEnough(z=1.5), plot([2.0, 1.0])) == [[2.0, 1.0]]


@pytest.mark.parametrize(("cohort", "count"), [(50, 24), (50, 12), (20, 4), (25, 5)])
def test_z_is_the_papers(cohort, count):
    supporters = cohort // 2 + 1 - count
    expected = norm.ppf((cohort - count - supporters) / (cohort - count))
    assert largest_z(cohort, count) == pytest.approx(expected)
    situation = plot([2.0, 1.0], [4.0, 3.0], cohort=20)
    assert sent(LittleIsEnough(), situation) == sent(LittleIsEnough(largest_z(20, 2)), situation)


def test_labels_are_turned_about_and_none_stays_none():
    arrays = {"x": np.zeros((4, 4, 4), np.uint8), "y": np.array([0, 1, 2, -1])}
    poisoned = LabelFlip().poison(arrays, IMAGES, np.random.default_rng(0))
    assert poisoned["y"].tolist() == [2, 1, 0, -1] and poisoned["y"].dtype == np.int64


def test_a_backdoor_patches_its_share_and_names_it_the_target():
    arrays = {"x": np.zeros((10, 4, 4), np.uint8), "y": np.full(10, 1)}
    attack = Backdoor(target=2, share=0.3, size=2)
    poisoned = attack.poison(arrays, IMAGES, np.random.default_rng(0))
    patched = poisoned["y"] == 2
    assert patched.sum() == 3
    assert (poisoned["x"][patched, 2:, 2:] == 255).all()
    assert poisoned["x"].sum() == 3 * 4 * 255 and not arrays["x"].any()
    colour = np.zeros((1, 4, 4, 3), np.float32)
    assert attack.patched(colour).sum() == 12.0


def experiment(attack, **sections):
    wanted = {
        "experiment": {"rounds": 2, "seed": 3},
        "data": {"clients": 6},
        "model": {"name": "mlp", "hidden": [8]},
        "simulation": {"attack": attack},
    }
    for section, values in sections.items():
        wanted[section] = {**wanted.get(section, {}), **values}
    return Experiment(**wanted)


def test_only_attackers_are_poisoned_and_only_what_they_train_on():
    wanted = experiment({"name": "label_flip", "clients": 2}, data={"held_out": 0.3})
    honest = make_shards(wanted, load_dataset("digits"))
    shards = with_poison(wanted, honest)
    assert len(attackers(wanted)) == 2 and attackers(wanted) == attackers(wanted)
    for index in range(6):
        own, found = honest.shard(index), shards.shard(index)
        rows, held = held_out_rows(len(own), 0.3, 3, own.client)
        changed = 9 - own.arrays["y"] if index in attackers(wanted) else own.arrays["y"]
        np.testing.assert_array_equal(found.arrays["y"][rows], changed[rows])
        np.testing.assert_array_equal(found.arrays["y"][held], own.arrays["y"][held])
        np.testing.assert_array_equal(found.arrays["x"], own.arrays["x"])


class Honest:
    """Attackers that think better of it."""

    def forge(self, plot):
        assert len(plot.honest) == 2 and plot.cohort == 6
        return [dict(values) for values in plot.honest]


class Loud:
    """Attackers that send so much that a mean follows them."""

    def forge(self, plot):
        return [{name: v + 1000 for name, v in values.items()} for values in plot.honest]


def test_attackers_who_send_what_they_should_change_no_bit(tmp_path):
    attack = {"name": f"{__name__}:Honest", "clients": 2}
    plain = experiment(None)
    one = simulate(plain, out=tmp_path / "plain")
    other = simulate(experiment(attack), out=tmp_path / "honest")
    assert one.sha256 == other.sha256


@pytest.mark.parametrize("name", registry.names("attack"))
def test_an_attacked_run_is_the_same_with_workers(tmp_path, name):
    attack = {"name": name, "clients": 2}
    one = simulate(experiment(attack), out=tmp_path / "one")
    two = simulate(experiment(attack, simulation={"workers": 2}), out=tmp_path / "two")
    assert one.sha256 == two.sha256
    assert one.sha256 != simulate(experiment(None), out=tmp_path / "plain").sha256


def test_an_attacked_run_is_the_same_on_ray(tmp_path):
    pytest.importorskip("ray")
    attack = {"name": "alie", "clients": 2}
    one = simulate(experiment(attack), out=tmp_path / "one")
    ray = experiment(attack, simulation={"engine": "ray"}, server=PATIENT)
    assert simulate(ray, out=tmp_path / "ray").sha256 == one.sha256


def test_an_attack_goes_through_the_chain(tmp_path):
    attack = {"name": f"{__name__}:Loud", "clients": 2}
    strategy = Strategy(chain=Chain((Quantise(8),)))
    result = simulate(experiment(attack), out=tmp_path / "run", strategy=strategy)
    # Two of six add 1000 in the first round, and again in the second: a third of that each.
    bias = next(value for name, value in result.model.items() if name.endswith("bias"))
    assert bias.mean().item() == pytest.approx(2000 / 3, rel=0.1)
    assert all(row["status"] == "ok" for record in result.records for row in record["clients"])


def test_a_robust_strategy_stands_what_a_mean_does_not(tmp_path):
    attack = {"name": "gaussian", "clients": 2}

    def accuracy(strategy):
        wanted = experiment(
            attack,
            strategy={"name": strategy},
            client={"epochs": 10},
            model={"hidden": [32]},
            experiment={"rounds": 4},
        )
        result = umbel.simulate(wanted, out=tmp_path / strategy)
        return result.rows[-1]["federated_accuracy"]

    assert accuracy("median") > 0.6 > 0.4 > accuracy("fedavg")


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ('{ name = "alie", clients = 10 }', "simulation.attack.clients 10 is not less than"),
        ('{ name = "aliee" }', "did you mean 'alie'"),
        ('{ name = "alie", clients = 0 }', "simulation.attack.clients"),
        ('{ name = "ipm", epsilon = -1.0 }', "simulation.attack.epsilon: -1.0"),
        ('{ name = "ipm", epsilom = 1.0 }', "simulation.attack.epsilom: unknown parameter"),
        ("{ clients = 2 }", "simulation.attack.name: missing"),
        ('{ name = "backdoor", share = 0.0 }', "simulation.attack.share: 0.0"),
    ],
)
def test_an_attack_that_cannot_be_is_refused(tmp_path, attack, said):
    path = tmp_path / "exp.toml"
    path.write_text(f"[simulation]\nattack = {attack}\n")
    with pytest.raises(BadInput) as refused:
        load(path)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ({"name": "backdoor", "size": 9}, "size: 9 is more than the images' 8 pixels"),
        ({"name": "backdoor", "target": 10}, "target: 10"),
        ({"name": "umbel.strategies:Median"}, "neither poison nor forge"),
    ],
)
def test_an_attack_that_the_data_do_not_allow_is_refused(tmp_path, attack, said):
    with pytest.raises(BadInput) as refused:
        simulate(experiment(attack), out=tmp_path / "run")
    assert said in str(refused.value) and not (tmp_path / "run").exists()


def test_every_other_runtime_refuses_attackers(tmp_path):
    wanted = experiment({"name": "alie", "clients": 2})
    with pytest.raises(BadInput, match="only simulated clients attack"):
        up(wanted, out=tmp_path / "run")
    with pytest.raises(BadInput, match="only simulated clients attack"):
        run(wanted, "127.0.0.1:9", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
