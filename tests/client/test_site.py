"""A site with a policy: what it declines, and what of its replies leaves."""

from __future__ import annotations

import math

import pytest
import torch
from site_bench import EXAMPLES, SiteBench, experiment, model

from umbel.client.policy import Leave
from umbel.client.release import bounded, difference_of, norm_of
from umbel.client.site import ABOUT, Site, make_site_app
from umbel.data import make_shards, write_shards
from umbel.errors import BadInput, Declined, UmbelError
from umbel.experiment import Experiment
from umbel.messages import REST
from umbel.tensors import digest

TRAINED = EXAMPLES - round(0.2 * EXAMPLES)


@pytest.mark.parametrize(
    ("policy", "sections", "reason"),
    [
        ({"allow": {"paradigms": []}}, {}, r"paradigm supervised is not among allow.paradigms \(none\)"),
        ({"allow": {"models": ["cnn"]}}, {}, r"model mlp is not among allow.models \(cnn\)"),
        ({"allow": {"strategies": ["fedprox"]}}, {}, "strategy fedavg is not among"),
        ({"allow": {"optimizers": ["adam*"]}}, {}, "optimizer sgd is not among"),
        ({"allow": {"schedules": ["cosine"]}}, {}, "schedule constant is not among"),
        ({"limits": {"max_epochs": 2}}, {"client": {"epochs": 3}}, "3 epochs a round are more than"),
        ({"limits": {"max_epochs": 2}}, {"client": {"steps": 100}}, "10 epochs a round are more"),
        ({"limits": {"max_steps": 10}}, {"client": {"steps": 11}}, "11 steps a round are more than"),
        ({"limits": {"max_steps": 10}}, {"client": {"epochs": 1, "batch_size": 2}}, "175 steps a"),
        ({"limits": {"min_examples": 400}}, {}, "of fewer examples than limits.min_examples"),
        (
            {"limits": {"min_examples": 50}},
            {"client": {"steps": 1, "batch_size": 1}},
            "of fewer examples than limits.min_examples",
        ),
        ({"limits": {"min_examples": 50}}, {"data": {"held_out": 0.95}}, "of fewer examples than"),
        (
            {"limits": {"min_examples": 50}},
            {"client": {"steps": 4}, "paradigm": {"name": "instances", "examples": 100}},
            "of fewer examples than limits.min_examples",
        ),
        (
            {"limits": {"max_steps": 20}},
            {"client": {"epochs": 1}, "paradigm": {"name": "instances", "examples": 500}},
            "27 steps a round are more than limits.max_steps",
        ),
        (
            {"limits": {"max_model_bytes": 5_000}},
            {"paradigm": {"name": "instances", "examples": 500}},
            "more than limits.max_model_bytes",
        ),
        ({"limits": {"max_seconds": 1e-9}}, {}, "longer than limits.max_seconds"),
        ({"leave": {"tensors": ["head.*"]}}, {}, "tensor body.1.bias is not among leave.tensors"),
        (
            {"leave": {"peers": False}},
            {"paradigm": {"name": "pseudo-label", "source": "committee"}},
            r"an update does not go on to other clients \(leave.peers\)",
        ),
        ({"leave": {"peers": False}}, {"paradigm": {"name": "fedmatch"}}, "leave.peers"),
    ],
)  # fmt: skip
def test_a_task_that_asks_for_more_is_declined_with_the_reason(tmp_path, policy, sections, reason):
    site = SiteBench(tmp_path, policy)
    with pytest.raises(Declined, match=reason):
        site.train(experiment(**sections))
    assert SiteBench(tmp_path).train(experiment(**sections)).header["examples"] > 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("y", 2, "labelled with no class"), ("x", math.nan, "value that is not finite")],
)
def test_examples_that_cannot_be_learnt_from_are_told(tmp_path, name, value, said):
    """As a server that means harm would send them with the rest of a model."""
    of = experiment(paradigm={"name": "instances", "examples": 30})
    sent = {"auxiliary.x": torch.ones(30, 4), "auxiliary.y": torch.zeros(30, dtype=torch.int64)}
    site = SiteBench(tmp_path)
    groups = {"model": model(of), REST: sent}
    assert site.train(of, groups, rest=digest(sent)).header["examples"] == TRAINED
    sent[f"auxiliary.{name}"][3] = value
    with pytest.raises(UmbelError, match=said):
        site.train(of, groups, rest=digest(sent))


def test_the_strategy_that_the_server_names_counts_too(tmp_path):
    site = SiteBench(tmp_path, {"allow": {"strategies": ["fedavg"]}})
    with pytest.raises(Declined, match="strategy krum is not among"):
        site.train(strategy="krum")
    assert site.train(strategy="fedavg").header["examples"] == TRAINED


def test_imports_need_the_owners_word(tmp_path):
    optimizer = {"optimizer": {"name": "torch.optim:RMSprop", "lr": 0.01}}
    with pytest.raises(BadInput, match="this site does not allow imports of torch.optim"):
        SiteBench(tmp_path).train(experiment(client=optimizer))
    allowed = SiteBench(tmp_path, {"allow": {"imports": ["torch.optim"]}})
    assert allowed.train(experiment(client=optimizer)).header["examples"] == TRAINED


def test_evaluation_of_too_few_examples_is_declined(tmp_path):
    site = SiteBench(tmp_path, {"limits": {"min_examples": 50}})
    assert site.evaluate().header["metrics"]["examples"] == round(0.2 * EXAMPLES)
    with pytest.raises(Declined, match="fewer examples than limits.min_examples"):
        site.evaluate(experiment(data={"held_out": 0.1}))


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"limits": {"max_epochs": 2}}, "3 epochs a round are more than limits.max_epochs"),
        ({"limits": {"max_seconds": 1e-9}}, "longer than limits.max_seconds"),
        ({"leave": {"metrics": False}}, "metrics do not leave"),
    ],
)
def test_training_alone_for_the_transfer_gain_is_held_to_the_policy(tmp_path, policy, reason):
    of = experiment(client={"epochs": 3})
    head = {"run": "run-1", "round": 2, "experiment": of.to_json(), "config": {}, "gain": True}
    groups = {"model": model(of), "start": model(of)}
    told = SiteBench(tmp_path).ask("evaluate", head, groups).header["metrics"]
    assert told["run/loss"] == told["untouched/loss"] > told["alone/loss"]
    with pytest.raises(Declined, match=reason):
        SiteBench(tmp_path, policy).ask("evaluate", head, groups)
    with pytest.raises(UmbelError, match="the server's model does not fit this client's"):
        SiteBench(tmp_path).ask("evaluate", head, {"model": model(of)})


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"leave": {"statistics": ["labels"]}}, "confusion, sent beside the model, is not among"),
        ({"leave": {"clip_norm": 1.0, "noise_multiplier": 1.0, "metrics": True}}, "is not among"),
        ({"leave": {"metrics": False}}, "metrics do not leave"),
        ({"leave": {"sizes": "rounded"}}, r"tell how many examples there are \(leave.sizes\)"),
        ({"limits": {"min_examples": 50}}, r"of fewer than limits.min_examples \(50\)"),
    ],
)
def test_counts_by_class_leave_only_where_the_policy_lets_them(tmp_path, policy, reason):
    told = SiteBench(tmp_path).evaluate(confusion=True)
    counts = told.groups["statistics"]["confusion"]
    held_out = round(0.2 * EXAMPLES)
    assert counts[:, 2].sum() == told.header["metrics"]["examples"] == held_out
    assert set(told.header["metrics"]) == {"examples"}
    with pytest.raises(Declined, match=reason):
        SiteBench(tmp_path, policy).evaluate(confusion=True)


def test_metrics_stay_where_the_policy_says_so(tmp_path):
    site = SiteBench(tmp_path, {"leave": {"metrics": False}})
    assert site.train().header["metrics"] == {}
    with pytest.raises(Declined, match="metrics do not leave"):
        site.evaluate()


@pytest.mark.parametrize(("sizes", "told"), [("rounded", 300), ("hidden", 40)])
def test_sizes_are_not_told_by_any_number_in_the_reply(tmp_path, sizes, told):
    policy = {"leave": {"sizes": sizes}, "limits": {"min_examples": 40}}
    site, plain = SiteBench(tmp_path, policy), SiteBench(tmp_path)
    assert "examples" not in site.ask("query", {"round": 0}).header
    assert plain.ask("query", {"round": 0}).header["examples"] == EXAMPLES
    reply, exact = site.train().header, plain.train().header
    assert reply["examples"] == reply["metrics"]["examples"] == told
    assert "steps" not in reply
    mean = exact["metrics"]["loss"] / exact["metrics"]["examples"]
    assert reply["metrics"]["loss"] / told == pytest.approx(mean)


def test_a_default_policy_changes_no_bit(tmp_path):
    loose = {"leave": {"clip_norm": 1e6}, "limits": {"min_examples": 2}}
    plain, guarded = SiteBench(tmp_path).train(), SiteBench(tmp_path, loose).train()
    assert all(
        torch.equal(plain.groups["update"][n], t) for n, t in guarded.groups["update"].items()
    )
    assert guarded.header["clip_norm"] == 1e6


def test_the_update_that_leaves_is_within_the_bound(tmp_path):
    start = model(experiment())
    free = norm_of(difference_of(SiteBench(tmp_path).train().groups["update"], start))
    site = SiteBench(tmp_path, {"leave": {"clip_norm": free / 4}})
    clipped = norm_of(difference_of(site.train().groups["update"], start))
    assert clipped == pytest.approx(free / 4, rel=1e-5)


def test_noise_has_the_deviation_that_was_asked_for_and_is_never_the_same(tmp_path):
    received = {"w": torch.linspace(-1, 1, 40_000), "b": torch.zeros(3, dtype=torch.float64)}
    update = {name: value + 1e-4 for name, value in received.items()}
    leave = Leave(clip_norm=2.0, noise_multiplier=0.25)
    first, again = (bounded(update, received, leave) for _ in range(2))
    assert not torch.equal(first["w"], again["w"])
    assert first["w"].dtype == torch.float32 and first["b"].dtype == torch.float64
    noise = (first["w"].double() - update["w"].double()).numpy()
    assert noise.std() == pytest.approx(0.5, rel=0.02)
    for deviations, share in ((0.5, 0.3829), (1, 0.6827), (2, 0.9545), (3, 0.9973)):
        assert (abs(noise) < 0.5 * deviations).mean() == pytest.approx(share, abs=0.015)


def test_the_bits_of_a_noised_value_do_not_tell_what_it_was_added_to():
    """Whatever the difference was, what leaves is a whole multiple of the same number."""
    leave = Leave(clip_norm=1.0, noise_multiplier=0.3)
    received = {"w": torch.zeros(1000, dtype=torch.float64)}
    grid = 2.0 ** (math.floor(math.log2(0.3)) - 20)
    for size in (0.0, 1e-3, math.pi / 1000):
        update = {"w": torch.full((1000,), size, dtype=torch.float64)}
        left = bounded(update, received, leave)["w"] / grid
        assert torch.equal(left, left.round())


def test_what_noise_cannot_cover_does_not_leave_with_it():
    leave = Leave(clip_norm=1.0, noise_multiplier=1.0)
    received = {"w": torch.zeros(2), "count": torch.tensor(0)}
    with pytest.raises(Declined, match="count holds whole numbers"):
        bounded({"w": torch.zeros(2), "count": torch.tensor(1)}, received, leave)
    assert bounded({"w": torch.zeros(2), "count": torch.tensor(0)}, received, leave)


def test_a_reply_tells_of_its_noise(tmp_path):
    site = SiteBench(tmp_path, {"leave": {"clip_norm": 1.0, "noise_multiplier": 0.1}})
    reply = site.train()
    assert reply.header["noise_multiplier"] == 0.1 and reply.header["metrics"] == {}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_update_that_is_not_finite_is_not_clipped_but_declined(value):
    with pytest.raises(Declined, match="not finite"):
        bounded({"w": torch.tensor([value])}, {"w": torch.zeros(1)}, Leave(clip_norm=1.0))


def test_what_is_wrong_with_data_written_anew_stays_at_the_site(tmp_path):
    write_shards(make_shards(Experiment(data={"clients": 2})), tmp_path / "shards")
    site = SiteBench(tmp_path)
    own = Site(str(tmp_path / "shards" / "client-0"), tmp_path / "state")
    site.app = make_site_app(own, own.read())
    assert site.ask("query", {"round": 0}).header["client"] == "client-0"
    about = tmp_path / "shards" / "client-0" / ABOUT
    about.unlink()
    about.write_text("Mrs Smith")
    with pytest.raises(UmbelError, match="written anew and cannot be read") as fault:
        site.ask("query", {"round": 0})
    assert "Smith" not in str(fault.value) and str(tmp_path) not in str(fault.value)


def test_a_site_that_keeps_its_updates_from_other_clients_takes_part_in_all_else(tmp_path):
    site = SiteBench(tmp_path, {"leave": {"peers": False}})
    for paradigm in ({}, {"name": "pseudo-label", "source": "round"}):
        told = experiment(paradigm=paradigm) if paradigm else experiment()
        assert site.train(told).header["examples"] == TRAINED
