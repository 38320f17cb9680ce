"""Strategies put together in the experiment file."""

import json

import pytest

from umbel import registry
from umbel.strategies import (
    Clip,
    ControlVariates,
    Proximal,
    Quantise,
    Replace,
    RoundRobin,
    Together,
    fedavg,
    fedprox,
)
from umbel.strategies.telling import TellsLabelEntropy

TRIMMED = '{name="composed", combine={name="trimmed_mean", trim=0.4}, step="fedadam"}'


def test_nothing_given_is_fedavg():
    made, plain = (
        registry.build("strategy", "composed", {}),
        registry.build("strategy", "fedavg", {}),
    )
    for part in ("select", "local", "combine", "step", "chain", "extra", "needs"):
        assert getattr(made, part) == getattr(plain, part)


def test_every_part_comes_from_where_it_is_named():
    made = registry.build(
        "strategy",
        "composed",
        {
            "combine": {"name": "fedavg", "weighting": "uniform"},
            "local": ["fedavg", {"name": "fedprox", "mu": 0.1}, {"name": "fedprox", "mu": 0.2}],
            "chain": [{"name": "clip", "norm": 2.0}, "quantise"],
            "select": "round-robin",
            "fraction": 0.5,
            "step": "krum",
        },
    )
    assert made.combine == fedavg(weighting="uniform").combine
    assert made.local == Together((Proximal(0.1), Proximal(0.2)))
    assert made.chain.links == (Clip(2.0), Quantise(8))
    assert made.select == RoundRobin(0.5) and made.step == Replace()


@pytest.mark.parametrize("name", sorted(set(registry.names("strategy")) - {"composed", "gcfl"}))
def test_every_strategy_of_the_catalogue_lends_its_parts(name):
    whole = registry.build("strategy", name, {})
    parts = dict.fromkeys(["combine", "step", "local"], name)
    made = registry.build("strategy", "composed", {**parts, "extra": "fedavg"})
    assert (made.combine, made.step) == (whole.combine, whole.step)
    assert made.local == whole.local or whole.local.plain
    assert all(need in made.needs for need in whole.needs)


def test_a_rule_brings_what_its_weighting_goes_by():
    by_entropy = {"name": "fedavg", "weighting": "label-entropy"}
    made = registry.build("strategy", "composed", {"combine": by_entropy, "local": "fedprox"})
    assert made.local == Together((TellsLabelEntropy(), Proximal(0.01)))
    again = {"name": "fedprox", "weighting": "label-entropy"}
    made = registry.build("strategy", "composed", {"combine": by_entropy, "local": again})
    assert made.local == Together((TellsLabelEntropy(), Proximal(0.01)))


@pytest.mark.parametrize(
    "parameters",
    [
        {"local": "scaffold", "combine": "median", "extra": "median"},
        {"local": "scaffold", "combine": "fednova"},
        {"local": "feddyn", "step": "feddyn", "combine": "trimmed_mean"},
        {"local": {"name": "fedprox", "mu": 0.1}, "combine": {"name": "fednova", "mu": 0.1}},
        {"local": "moon", "combine": "geometric_median", "step": "fedyogi"},
    ],
    ids=str,
)
def test_what_goes_together_is_put_together(parameters):
    assert registry.build("strategy", "composed", parameters).name == "composed"


def test_a_rule_for_what_is_sent_beside_brings_its_weighting_too():
    extra = {"name": "fedavg", "weighting": "label-entropy"}
    made = registry.build("strategy", "composed", {"local": "scaffold", "extra": extra})
    assert made.local == Together((TellsLabelEntropy(), ControlVariates()))


def test_it_runs_from_the_experiment_file(umbel):
    def digest(strategy, out):
        code, printed, err = umbel(
            "simulate", "exp.toml", "--set", f"strategy={strategy}", "--out", out, "--json"
        )
        assert code == 0, err
        return json.loads(printed)["model_sha256"]

    same = digest('{name="composed", local={name="fedprox", mu=0.3}}', "composed")
    assert same == digest('{name="fedprox", mu=0.3}', "recipe")
    assert fedprox(mu=0.3).local == Proximal(0.3)
    assert digest(TRIMMED, "trimmed") != same


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ('combine="mediann"', "strategy.combine: strategy 'mediann' is unknown; did you mean 'median'?"),
        ('combien="median"', "strategy.combien: unknown parameter; did you mean 'combine'?"),
        ('step={name="krum", bizantine=2}', "strategy.step: strategy 'krum': bizantine: unknown"),
        ("step={byzantine=2}", "strategy.step: the table has no name"),
        ("step=3", "strategy.step: "),
        ('combine={name="trimmed_mean", trim=0.5}', "strategy.combine: "),
        ('combine="flwr.serverapp.strategy:FedAvg"', "only umbel's strategies are"),
        ('chain=["squeeze"]', "strategy.chain: 'squeeze' is unknown; valid: clip, noise, quantise"),
        ('chain={name="clip"}', "strategy.chain: clip: "),
        ('chain={name="quantise", bits=1}', "strategy.chain: quantise: bits: 1 is not in 2 to 8"),
        ('combine="bulyan"', "1 among 3 updates are too many for Bulyan"),
        ("fraction=1.5", "strategy.fraction: must be less than or equal to 1"),
        ('local="scaffold", combine="median"', "give a rule for that too, as extra"),
        ('local="scaffold", extra="fltrust"', "what clients send beside their updates is no model"),
        ('local="scaffold", extra="bulyan"', "1 among 3 updates are too many for Bulyan"),
        ('local="feddyn"', "take both from feddyn, as local and as step"),
        ('step="feddyn"', "take both from feddyn, as local and as step"),
        ('local="feddyn", step={name="feddyn", alpha=0.5}', "with one alpha"),
        ('combine="fednova", local="fedprox"', "give both the same constant mu"),
        ('combine={name="fednova", mu=0.1}, local={name="fedprox", mu=0.2}', "the same constant mu"),
        ('combine="fednova", local="feddyn", step="feddyn"', "beside FedDyn's regulariser"),
    ],
)  # fmt: skip
def test_an_unknown_part_and_what_does_not_fit_is_one_line(umbel, parameters, words):
    strategy = f'strategy={{name="composed", {parameters}}}'
    code, out, err = umbel("check", "exp.toml", "--set", strategy)
    assert code == 2 and out == "" and len(err.strip().splitlines()) == 1, err
    assert words in err
