"""The losses of mixmatch, pi-model and entropy against what their equations give by hand, and of
every method of which copies it is told, and of which it learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import umbel
from umbel.data.shard import UNLABELLED
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.paradigms.semi_supervised.confident import Confident, Terms
from umbel.paradigms.semi_supervised.consistency import Consistent, Weight
from umbel.paradigms.semi_supervised.disjoint import Disjoint, Pull
from umbel.paradigms.semi_supervised.entropy import LowEntropy
from umbel.paradigms.semi_supervised.fixed import FixedAndMixed
from umbel.paradigms.semi_supervised.local_teacher import LocalTeacher
from umbel.paradigms.semi_supervised.mixed import Mixed
from umbel.paradigms.semi_supervised.mixing import MixMatch, beta_draws, sharpened
from umbel.paradigms.semi_supervised.semi import Stand
from umbel.paradigms.semi_supervised.thresholds import ByLearning, Fixed
from umbel.schema import Schema

SCHEMA = Schema("classification", (2,), "float32", classes=("a", "b"))
LN3 = math.log(3.0)
X, Y = torch.tensor([[LN3, 0.0]]), torch.tensor([1])
U = torch.tensor([[0.0, LN3], [0.0, 0.0]])
BATCH = {"rows": torch.arange(3), "x": X, "y": Y, "u": U}
PREPARED = {"x": torch.cat([X, U]), "y": torch.tensor([1, UNLABELLED, UNLABELLED])}
"""A model whose scores these are says (3/4, 1/4), (1/4, 3/4) and (1/2, 1/2)."""


class Scores(nn.Module):
    """The inputs are the scores, times a weight; with `again` twice as much at each later call."""

    def __init__(self, again: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.factor, self.again = 1.0, again

    def forward(self, inputs):
        scores = inputs * self.weight * self.factor
        self.factor *= self.again
        return scores


def found(method, round=1, again=1.0, seed=0):
    """The loss, and by how much it grows with the weight."""
    stand = Stand(Scores(again), round, PREPARED)
    method.attach(stand.model, SCHEMA)
    method.begin(stand)
    loss = method.loss(stand, BATCH, torch.Generator().manual_seed(seed))
    [slope] = torch.autograd.grad(loss, [stand.model.weight])
    return loss.item(), slope.item()


def unchanged():
    return Mixed(lambda schema: Scores(), ratio=2, augmentation="none")


class Grown(Mixed):
    """Whose weak way to change an example is to double it, and whose strong way to triple it."""

    def weak(self, inputs, generator):
        return inputs * 2

    def strong(self, inputs, generator):
        return inputs * 3


def grown():
    return Grown(lambda schema: Scores(), ratio=2, augmentation="none")


def says(score):
    """The probability of the class with this score, where the other's is 0."""
    return 1 / (1 + math.exp(-score))


OWN = math.log(4.0)
"""The cross-entropy of the labelled example, to whose class the model gives a quarter."""
OWN_SLOPE = 0.75 * LN3
"""d/dw -log(1 / (1 + 3^w)) at w = 1."""


@pytest.mark.parametrize(("round", "share"), [(1, math.exp(-5)), (3, math.exp(-5 / 4)), (5, 1.0)])
def test_entropy_by_hand(round, share):
    loss, slope = found(LowEntropy(unchanged(), Weight(0.2, 4)), round)
    mean = (math.log(4) - 0.75 * LN3 + math.log(2)) / 2
    assert loss == pytest.approx(OWN + 0.2 * share * mean, rel=1e-6)
    # dH/dw = -w s^2 p (1 - p) of a score s = ln 3: of what is as likely as not there is none.
    falls = -(LN3**2) * 0.25 * 0.75 / 2
    assert slope == pytest.approx(OWN_SLOPE + 0.2 * share * falls, rel=1e-5)


@pytest.mark.parametrize(("round", "share"), [(1, math.exp(-5)), (3, math.exp(-5 / 4)), (5, 1.0)])
def test_the_pi_model_by_hand(round, share):
    """Both copies are the model's: here the second is said with twice the scores, 9 to 1. Both
    move it, and labelled examples are among them."""
    loss, slope = found(Consistent(unchanged(), Weight(10.0, 4), None), round, again=2.0)
    # Of three examples two are apart, each of both classes by 9/10 - 3/4.
    apart = (0.9 - 0.75) ** 2 * 4 / 6
    assert loss == pytest.approx(OWN + 10 * share * apart, rel=1e-5)
    moved = 2 * (0.9 - 0.75) * (0.9 * 0.1 * 2 * LN3 - 0.75 * 0.25 * LN3) * 4 / 6
    assert slope == pytest.approx(OWN_SLOPE + 10 * share * moved, rel=1e-4)


def mixmatch(**settings):
    chosen = {"copies": 2, "temperature": 0.5, "alpha": 0.75, "weight": 3.0, "ramp": 4}
    return MixMatch(unchanged(), **chosen | settings)


@pytest.mark.parametrize(("round", "share"), [(1, 0.0), (2, 0.25), (5, 1.0)])
def test_mixmatch_by_hand(round, share):
    """What is guessed is the mean of two predictions, sharpened; each of one labelled and four
    unlabelled copies is mixed with another, and counts most itself."""
    loss, slope = found(mixmatch(), round, again=2.0, seed=3)
    draws = torch.Generator().manual_seed(3)
    partner = torch.randperm(5, generator=draws).tolist()
    drawn = beta_draws(0.75, 5, draws).tolist()
    mean = (0.75 + 0.9) / 2
    sure = mean**2 / (mean**2 + (1 - mean) ** 2)
    # By how much the second class leads, and its probability; the third prediction is for both.
    leads = [-LN3, LN3, 0.0, LN3, 0.0]
    targets = [1.0, sure, 0.5, sure, 0.5]
    wanted, moved = 0.0, 0.0
    for place, (other, part) in enumerate(zip(partner, drawn, strict=True)):
        most = max(part, 1 - part)
        lead = most * leads[place] + (1 - most) * leads[other]
        target = most * targets[place] + (1 - most) * targets[other]
        # The model, asked a third time, gives four times the scores.
        p, rise = says(4 * lead), 4 * lead
        if place == 0:
            wanted -= target * math.log(p) + (1 - target) * math.log(1 - p)
            moved += (p - target) * rise
        else:
            wanted += 3 * share * 2 * (p - target) ** 2 / 8
            moved += 3 * share * 2 * 2 * (p - target) * p * (1 - p) * rise / 8
    assert partner != list(range(5)) and min(drawn) < 0.5
    assert loss == pytest.approx(wanted, rel=1e-4)
    assert slope == pytest.approx(moved, rel=1e-4)


def test_pseudo_labels_are_told_and_learnt_of_the_same_weakly_changed_examples():
    loss, _ = found(Confident(grown(), Terms(strong=False), Fixed(0.8)))
    # Doubled scores say 9 to 1: of the label's class a tenth, of one unlabelled example 9/10, and
    # of the other, which is as likely as not, nothing is learnt.
    assert loss == pytest.approx(math.log(10) + math.log(10 / 9) / 2, rel=1e-6)


WEAK, WEAK_SLOPE = math.log(10), 0.9 * 2 * LN3
"""The labelled example's loss, weakly changed, and by how much it grows with the weight."""
STRONG, STRONG_SLOPE = math.log(28 / 27), -3 * LN3 / 28
"""Those of the sure example, strongly changed, taken for the class that it is told to be of."""


@pytest.mark.parametrize("source", ["model", "round"])
def test_fixmatch_is_told_of_weak_copies_and_learns_of_strong_ones(source):
    # An example as it is says 3 to 1, a weak copy 9 to 1, a strong one 27 to 1.
    least = 0.8 if source == "model" else 0.7
    loss, slope = found(Confident(grown(), Terms(source=source), Fixed(least)))
    assert loss == pytest.approx(WEAK + STRONG / 2, rel=1e-5)
    assert slope == pytest.approx(WEAK_SLOPE + STRONG_SLOPE / 2, rel=1e-5)
    nothing, _ = found(Confident(grown(), Terms(source=source), Fixed(least + 0.15)))
    assert nothing == pytest.approx(WEAK, rel=1e-6)


def test_uda_learns_of_strong_copies_what_the_weak_ones_say_sharpened():
    loss, slope = found(Confident(grown(), Terms(sharpen=2 / 3), Fixed(0.8)))
    # Its target, 9^(3/2) to 1, is what the strong copy says: no loss and no slope, which the
    # target would have if it moved with the weight.
    assert loss == pytest.approx(WEAK, rel=1e-5)
    assert slope == pytest.approx(WEAK_SLOPE, rel=1e-5)
    loss, slope = found(Confident(grown(), Terms(sharpen=1.0), Fixed(0.8)))
    far = 0.9 * math.log(0.9 * 28 / 27) + 0.1 * math.log(0.1 * 28)
    assert loss == pytest.approx(WEAK + far / 2, rel=1e-5)
    assert slope == pytest.approx(WEAK_SLOPE + (27 / 28 - 0.9) * 3 * LN3 / 2, rel=1e-4)


def test_flexmatch_is_told_of_weak_copies_and_learns_of_strong_ones():
    loss, _ = found(Confident(grown(), Terms(), ByLearning(0.8)))
    # Of no example the received model is so sure, so that all are learnt from: the other one, as
    # likely as not in either copy, too.
    assert loss == pytest.approx(WEAK + (STRONG + math.log(2)) / 2, rel=1e-5)


def test_fedmatch_learns_of_strong_copies():
    loss, slope = found(Disjoint(grown(), Fixed(0.7), 0.5, Pull(0.0, 0.0)))
    assert loss == pytest.approx(WEAK + 0.5 * STRONG, rel=1e-5)
    assert slope == pytest.approx(WEAK_SLOPE + 0.5 * STRONG_SLOPE, rel=1e-4)


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_semifl_learns_of_strong_copies_and_of_mixed_weak_ones(weight):
    loss, _ = found(FixedAndMixed(grown(), threshold=0.7, weight=weight, alpha=0.75), seed=5)
    draws = torch.Generator().manual_seed(5)
    partner = int(torch.randint(2, (1,), generator=draws))
    share = float(beta_draws(0.75, 1, draws))
    # The partner is the example itself, or the other one, whose first class counts as said.
    lead = 2 * LN3 * (share + (1 - share) * (partner == 0))
    both = -share * math.log(says(lead))
    both -= (1 - share) * math.log(says(lead if partner == 0 else -lead))
    assert loss == pytest.approx(WEAK + STRONG + weight * both, rel=1e-5)


def test_rscfed_learns_of_strong_copies_what_its_teacher_says_of_weak_ones():
    method = LocalTeacher(grown(), decay=0.9, temperature=0.5, weight=2.0)
    loss, slope = found(method)
    p, told = 27 / 28, 81 / 82
    assert loss == pytest.approx(WEAK + 2.0 * 2 * (p - told) ** 2 / 2, rel=1e-5)
    rises = p * (1 - p) * 3 * LN3
    assert slope == pytest.approx(WEAK_SLOPE + 2.0 * 2 * 2 * (p - told) * rises / 2, rel=1e-4)


def test_copies_that_should_agree_are_weak():
    loss, _ = found(Consistent(grown(), Weight(10.0, 0), None))
    assert loss == pytest.approx(WEAK, rel=1e-6)
    # Only the second is said with twice the scores: 81 to 1 beside 9 to 1.
    loss, _ = found(Consistent(grown(), Weight(10.0, 0), None), again=2.0)
    assert loss == pytest.approx(WEAK + 10 * (81 / 82 - 0.9) ** 2 * 4 / 6, rel=1e-5)


@pytest.mark.parametrize("temperature", [0.02, 0.5, 1.0])
def test_probabilities_are_sharpened_at_any_temperature(temperature):
    said = torch.tensor([[0.1] * 10, [0.5, 0.3, *[0.025] * 8]])
    wanted = (said.double().log() / temperature).softmax(dim=1)
    torch.testing.assert_close(sharpened(said, temperature).double(), wanted, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("name", ["mixmatch", "pi-model", "pseudo-label"])
def test_a_ramp_below_0_is_refused(tmp_path, name):
    told = Experiment(data={"labels": 50}, paradigm={"name": name, "ramp": -1})
    with pytest.raises(BadInput, match="ramp: -1 is less than 0"):
        umbel.simulate(told, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
