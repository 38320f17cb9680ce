"""What every combining rule keeps, those of the whole catalogue and one of a user's own: whoever
adds a strategy adds a case."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import umbel
from umbel import registry
from umbel.errors import UmbelError
from umbel.server.ordering import InOrder, Parcel
from umbel.strategies import Update, fedavg
from umbel.strategies.alternating import ThenTrained
from umbel.strategies.parts import AsksServer, ByRound, TellsApart
from umbel.strategies.weighting import WEIGHTINGS
from umbel.tensors import pack, unpack

CLIENTS = 7
"""As many as Bulyan asks for with one attacker among them."""


@umbel.combine
def middle(updates, model):
    """A rule of a user's own."""
    return {n: torch.stack([u.tensors[n] for u in updates]).median(0).values for n in model}


class OwnServer:
    """A server whose training does to a model what it is told, and that scores by its values."""

    def __init__(self, change):
        self._change = change

    def train(self, model, round):
        return {name: value + self._change[name] for name, value in model.items()}

    def score(self, model):
        return {"accuracy": 0.5 + 0.4 * torch.tanh(model["w"].double().sum()).item()}


def rule_of(name, server, examples=None):
    """A strategy's rule as the round loop asks it; `examples` replaces what counts examples."""
    if name == "own function":
        rule = middle().combine
    elif name in WEIGHTINGS:
        rule = fedavg(weighting=name).combine
    else:
        rule = registry.build("strategy", name, {}).combine
    if examples is not None and hasattr(rule, "weight"):
        rule = replace(rule, weight=examples)
    if isinstance(rule, ThenTrained):
        rule = rule.mean  # What the server does to it then is no combining.
    if isinstance(rule, AsksServer):
        rule = rule.helped(server, 1)
    if isinstance(rule, TellsApart):
        rule = rule.among(frozenset({"w"}))
    return rule.in_round(1, {}) if isinstance(rule, ByRound) else rule


NAMES = [*registry.names("strategy"), *WEIGHTINGS, "own function"]
every = pytest.mark.parametrize("name", NAMES)


def cohort(seed, model, spread=1.0):
    """Clients whose models lie around one point, and who tell all that a weighting goes by."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    goal = {"w": model["w"] + 1 + 0.1 * draw(3), "mean": model["mean"] + 0.1 * draw(2)}
    updates = []
    for number in range(CLIENTS):
        tensors = {n: v + spread * 0.1 * draw(*v.shape) for n, v in goal.items()}
        tensors["steps"] = torch.tensor(number if spread else 3)
        told = {"gradient_variance": 0.1 + draw(1).abs(), "label_entropy": 0.1 + draw(1).abs()}
        examples = int(torch.randint(1, 100, (1,), generator=generator))
        metrics = {"loss": examples * (0.1 + draw(1).abs().item()), "examples": float(examples)}
        extra = {key: value.double() for key, value in told.items()}
        updates.append(
            Update(f"client-{number}", tensors, examples, metrics, extra, steps=1 + number % 3)
        )
    return updates


def start(seed):
    generator = torch.Generator().manual_seed(seed + 1)
    return {
        "w": torch.randn(3, generator=generator),
        "mean": torch.rand(2, generator=generator),
        "steps": torch.tensor(0),
    }


def combined(rule, updates, model):
    state = rule.init(model)
    for update in updates:
        state = rule.fold(state, update)
    return rule.finish(state)


def helper(updates, model):
    """A server that goes the way of the first client."""
    return OwnServer({name: updates[0].tensors[name] - value for name, value in model.items()})


@every
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32))
def test_equal_updates_give_that_update(name, seed):
    model = start(seed)
    updates = cohort(seed, model, spread=0.0)
    # Steps that differ are no equal updates to a rule that divides by them.
    updates = [replace(update, steps=2) for update in updates]
    found = combined(rule_of(name, helper(updates, model)), updates, model)
    for key, value in updates[0].tensors.items():
        # q-FedAvg takes a step of its own length, which is the update's where q is 0.
        if name != "qfedavg" or key != "w":
            torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6)


@every
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32), arrival=st.permutations(range(CLIENTS)))
def test_the_order_in_which_clients_answer_changes_no_bit(name, seed, arrival):
    """As in the server: what comes early waits until those before it have had their turn."""
    model = start(seed)
    updates = cohort(seed, model)
    rule = rule_of(name, helper(updates, model))
    state = rule.init(model)
    with InOrder(range(CLIENTS), memory_limit=60) as order:
        for place in arrival:
            parcel = Parcel({}, pack(updates[place].tensors))
            for turn, due in order.arrive(place, parcel):
                update = replace(updates[turn], tensors=unpack(due.blob))
                state = rule.fold(state, update)
    one, other = combined(rule, updates, model), rule.finish(state)
    assert all(torch.equal(one[key], other[key]) for key in model)


@every
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32), order=st.permutations(range(CLIENTS)))
def test_permuting_the_clients_changes_no_more_than_rounding(name, seed, order):
    model = start(seed)
    updates = cohort(seed, model)
    rule = rule_of(name, helper(updates, model))
    one = combined(rule, updates, model)
    other = combined(rule, [updates[place] for place in order], model)
    for key in model:
        torch.testing.assert_close(one[key], other[key], rtol=1e-6, atol=1e-6)
        if not rule.streams:
            assert torch.equal(one[key], other[key])


@every
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32), factor=st.integers(2, 10**6))
def test_scaling_all_weights_changes_nothing(name, seed, factor):
    model = start(seed)
    updates = cohort(seed, model)
    server = helper(updates, model)
    plain = rule_of(name, server)
    weight = getattr(plain, "weight", None)
    scaled = rule_of(name, server, weight and (lambda update: factor * weight(update)))
    if name == "rscfed":
        plain = scaled = replace(plain, beta=0.0)  # By its paper more examples forgive distance.
    claimed = [
        replace(
            update,
            examples=update.examples * factor,
            metrics={key: value * factor for key, value in update.metrics.items()},
        )
        for update in updates
    ]
    one = combined(plain, updates, model)
    for other in (combined(scaled, updates, model), combined(plain, claimed, model)):
        for key in model:
            torch.testing.assert_close(one[key], other[key], rtol=1e-6, atol=1e-6)


@every
@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32))
def test_running_variances_stay_positive(name, seed):
    """A tensor that training does not move is not moved further than any client had it."""
    model = start(seed)
    updates = cohort(seed, model, spread=3.0)
    for update in updates:
        update.tensors["mean"].abs_().mul_(1e-3)
    own = OwnServer({n: 50 * (updates[0].tensors[n] - v) for n, v in model.items()})
    rule = rule_of(name, own)
    if isinstance(rule, ByRound):
        last = rule.remembers(model, {n: v - 5 * v.abs() for n, v in model.items()})
        rule = rule.in_round(2, last)
    assert (combined(rule, updates, model)["mean"] >= 0).all()


@pytest.mark.parametrize(
    "name",
    ["median", "trimmed_mean", "krum", "multi_krum", "bulyan", "geometric_median",
     "centred_clipping", "norm_bound", "fltrust"],
)  # fmt: skip
@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    far=st.lists(
        st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, max_size=3
    ),
)
def test_one_attacker_of_seven_does_not_carry_a_robust_rule_away(name, seed, far):
    """All parameters as they come: each stands one attacker of seven."""
    model = start(seed)
    updates = cohort(seed, model)
    honest = torch.stack([update.tensors["w"] for update in updates[:-1]])
    attacked = [
        *updates[:-1],
        replace(updates[-1], tensors={**updates[-1].tensors, "w": torch.tensor(far)}),
    ]
    found = combined(rule_of(name, helper(updates, model)), attacked, model)["w"]
    spread = (honest - honest.mean(0)).norm(dim=1).max()
    reach = (honest - model["w"]).norm(dim=1).max()
    # Rules that bound lengths let one of seven pull by as much as an honest client moves.
    slack = 2 * reach / CLIENTS if name in ("norm_bound", "centred_clipping", "fltrust") else 0
    assert (found - honest.mean(0)).norm() <= 2 * spread + slack


# Bad weights.


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf"), "many", None])
@pytest.mark.parametrize(
    "name", ["fedavg", "fednova", "fedexp", "multi_krum", "geometric_median", "norm_bound"]
)
def test_a_weight_that_is_none_is_told_with_its_file_and_line(name, bad):
    model = start(1)

    def by_mood(update):
        return bad

    updates = cohort(1, model)
    line = by_mood.__code__.co_firstlineno
    words = rf"by_mood \(.*test_every_combine.py:{line}\): it weighs client-. by .*0 or more"
    with pytest.raises(UmbelError, match=words):
        combined(rule_of(name, None, by_mood), updates, model)
