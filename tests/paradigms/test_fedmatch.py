"""FedMatch and committees: the losses and the choice of peers against what the papers give by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

import umbel
from umbel.client.workbench import Workbench
from umbel.data import make_shards
from umbel.data.shard import UNLABELLED
from umbel.errors import BadInput
from umbel.experiment import Experiment, load
from umbel.paradigms.semi_supervised.confident import Confident, Terms
from umbel.paradigms.semi_supervised.disjoint import Disjoint, Pull
from umbel.paradigms.semi_supervised.mixed import Mixed
from umbel.paradigms.semi_supervised.peers import Lending, random_example
from umbel.paradigms.semi_supervised.semi import SemiSupervised, Stand
from umbel.paradigms.semi_supervised.thresholds import ByLearning, Fixed
from umbel.randomness import torch_seeded
from umbel.result import Result
from umbel.rounds import evaluation
from umbel.schema import Schema
from umbel.server.observer import Silent
from umbel.server.peers import Peers
from umbel.strategies.strategy import ClientSide

SCHEMA = Schema("classification", (3,), "float32", classes=("a", "b", "c"))
X, Y = torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([1])
U = torch.tensor([[0.0, 9.0, 1.0], [0.1, 0.0, 0.0], [6.0, 0.0, 5.0]])
BATCH = {"rows": torch.arange(4), "x": X, "y": Y, "u": U}
PREPARED = {"x": torch.cat([X, U]), "y": torch.cat([Y, torch.full((3,), UNLABELLED)])}


class Scaled(nn.Module):
    """A model whose scores are the inputs, each times a weight of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.2, 1.2, 1.2]))

    def forward(self, inputs):
        return inputs * self.weight


def disjoint(peers=()):
    mixed = Mixed(lambda schema: Scaled(), ratio=1, augmentation="none")
    method = Disjoint(mixed, Fixed(0.9), 0.5, Pull(closeness=0.3, sparsity=0.01))
    model = Scaled()
    method.attach(model, SCHEMA)
    stand = Stand(model, 2, PREPARED, [{"psi.weight": torch.tensor(psi)} for psi in peers])
    method.begin(stand)
    return mixed, method, stand


def probabilities(row):
    powers = [math.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


# With sigma = 1: one peer says the third class where the model says the first.
PEERS = ([0.0, 0.0, 2.0], [-0.5, 0.0, 2.0])


def test_the_loss_by_hand():
    mixed, method, stand = disjoint(PEERS)
    found = method.loss(stand, BATCH, torch.Generator())
    own = -math.log(probabilities([2.4, 0.0, 0.0])[1])
    # Sure are the first and the last; of the last two peers of three say the third class.
    first, last = probabilities([0.0, 10.8, 1.2]), probabilities([7.2, 0.0, 6.0])
    assert last[0] < 0.9
    assert stand.unlabelled.tolist() == [1, 2, 3]
    sure = [(first, 1, U[0])]
    apart = -sum(math.log(said[label]) for said, label, _ in sure) / len(sure)
    for psi in PEERS:
        for said, _, row in sure:
            theirs = probabilities([float(x) * (1 + p) for x, p in zip(row, psi, strict=True)])
            far = sum(t * math.log(t / s) for t, s in zip(theirs, said, strict=True) if t > 0)
            apart += far / len(PEERS)
    drawn = 0.3 * 3 * (1.0 - 0.2) ** 2 + 0.01 * 3 * 0.2
    assert float(found.detach()) == pytest.approx(own + 0.5 * apart + drawn, rel=1e-5)
    assert mixed.counted() == {"unlabelled_count": 3, "kept_count": 1}


def test_what_most_say_is_learnt():
    """A model that is sure of the first class learns the third, which both of its peers say."""
    _, method, stand = disjoint(([0.0, 0.0, 9.0], [0.0, 0.0, 9.0]))
    batch = BATCH | {"rows": torch.tensor([0, 3]), "u": U[2:] * 3}
    stand.prepared["x"][3] = U[2] * 3
    try:
        found = method.loss(stand, batch, torch.Generator())
    finally:
        stand.prepared["x"][3] = U[2]
    said, label = probabilities([21.6, 0.0, 18.0]), 2
    far = -math.log(said[2])  # The peers are certain of it.
    own = -math.log(probabilities([2.4, 0.0, 0.0])[1])
    drawn = 0.3 * 3 * (1.0 - 0.2) ** 2 + 0.01 * 3 * 0.2
    wanted = own + 0.5 * (-math.log(said[label]) + far) + drawn
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-5)


def test_labels_move_sigma_alone_and_the_rest_psi():
    """The gradients are those of two parameters apart, each with the other held."""
    _, method, stand = disjoint(PEERS)
    loss = method.loss(stand, BATCH, torch.Generator())
    theta, psi = stand.model.weight, stand.model.get_parameter("psi.weight")
    moved = torch.autograd.grad(loss, [theta, psi])
    sigma, own = (torch.full((3,), value, requires_grad=True) for value in (1.0, 0.2))
    labelled = nn.functional.cross_entropy(X * (sigma + own.detach()), Y)
    scores = U[:1] * (sigma.detach() + own)
    said = scores.log_softmax(1)
    apart = nn.functional.cross_entropy(scores, torch.tensor([1]))
    for peer in PEERS:
        theirs = (U[:1] * (1 + torch.tensor(peer))).softmax(1)
        apart = apart + (theirs * (theirs.clamp(min=1e-30).log() - said)).sum() / 2
    far = (sigma.detach() - own).square().sum()
    (0.5 * apart + 0.3 * far + 0.01 * own.abs().sum() + labelled).backward()
    torch.testing.assert_close(moved[1], own.grad)
    torch.testing.assert_close(moved[0], sigma.grad + own.grad)


def test_a_committee_says_the_mean():
    mixed = Mixed(lambda schema: Scaled(), ratio=1, augmentation="none")
    method = Confident(mixed, Terms(strong=False, source="committee"), Fixed(0.6))
    other = {"weight": torch.tensor([0.0, 0.0, 1.2])}
    stand = Stand(Scaled(), 2, PREPARED, [other])
    method.begin(stand)
    found = method.loss(stand, BATCH, torch.Generator()).detach()
    last = [probabilities([7.2, 0.0, 6.0]), probabilities([0.0, 0.0, 6.0])]
    mean = [sum(both) / 2 for both in zip(*last, strict=True)]
    first = [probabilities([0.0, 10.8, 1.2]), probabilities([0.0, 0.0, 1.2])]
    assert mean[2] > 0.6 > (first[0][1] + first[1][1]) / 2
    # Of three one is sure: its third class, where the model by itself says the first.
    own = -math.log(probabilities([2.4, 0.0, 0.0])[1])
    assert float(found) == pytest.approx(own - math.log(last[0][2]) / 3, rel=1e-5)
    assert mixed.counted() == {"unlabelled_count": 3, "kept_count": 1}


@pytest.mark.parametrize("name", ["fixmatch", "flexmatch", "freematch", "pseudo-label", "uda"])
def test_whose_pseudo_labels_they_are(tmp_path, name):
    """A committee has others' models from round 2 on, which travel for it alone."""
    # With so little weight no model comes to say one class of all, where committees agree.
    sure = {"weight": 0.1} if name == "freematch" else {"weight": 0.1, "threshold": 0.2}
    runs = []
    for source in ("model", "round", "committee"):
        told = experiment(name, rounds=3, paradigm={"source": source, "peers": 1, **sure})
        runs.append(umbel.simulate(told, out=tmp_path / source))
        lent = json.loads((tmp_path / source / "environment.json").read_text()).get("lent", [])
        assert bool(lent) == (source == "committee")
    assert len({run.sha256 for run in runs}) == 3
    down = [run.records[1]["bytes_down"] for run in runs]
    assert down[1] == pytest.approx(down[0], rel=0.01) and down[2] > 1.3 * down[0]


def test_flexmatch_starts_by_what_its_committee_says():
    """By itself the model is sure of all three classes, once each; with a peer that says nothing
    of the first and the last it is sure of the second alone: b = 1 / max(1, 3 - 1)."""
    found = []
    for peers in ([], [{"weight": torch.tensor([0.0, 1.2, 0.0])}]):
        mixed = Mixed(lambda schema: Scaled(), ratio=1, augmentation="none")
        threshold = ByLearning(0.9)
        method = Confident(mixed, Terms(source="committee"), threshold)
        prepared = {"x": torch.eye(3) * 9, "y": torch.full((3,), UNLABELLED)}
        method.begin(Stand(Scaled(), 2, prepared, peers))
        found.append(threshold.limits(3, 3).tolist())
    assert found == [pytest.approx([0.9] * 3), pytest.approx([0.0, 0.9 * 0.5 / 1.5, 0.0])]


def lending(peers):
    mixed = Mixed(lambda schema: Scaled(), ratio=1, augmentation="none")
    method = Confident(mixed, Terms(source="committee"), Fixed(0.5))
    paradigm = SemiSupervised(mixed, method, Lending(peers))
    with torch_seeded(3, purpose="model"):
        module = paradigm.build(SCHEMA)
    return paradigm, module


def test_peers_are_those_that_say_the_like_of_one_random_input():
    paradigm, module = lending(2)
    peers = Peers(paradigm, module)
    weights = {"b": [1.0, 0.0, 0.0], "a": [5.0, 0.0, 0.0], "d": [1.1, 0.0, 0.0], "c": [0, 0, 9.0]}
    assert peers.told(["a"], {"weight": torch.ones(3)}) == {}
    peers.begin()
    for client, weight in weights.items():
        peers.note(client, {"weight": torch.tensor(weight)})
    peers.end()
    # By hand: what is said of the input that was drawn after the weights.
    with torch_seeded(3, purpose="model"):
        Scaled()
        drawn = torch.randn(1, 3)
    said = {c: (drawn * torch.tensor(w)).softmax(1)[0].double() for c, w in weights.items()}
    new = torch.tensor([5.0, 0.1, 0.0])
    said["new"] = (drawn * new).softmax(1)[0].double()
    told = peers.told([*weights, "new"], {"weight": new})
    for client, groups in told.items():
        others = sorted(
            set(weights) - {client}, key=lambda o: float((said[o] - said[client]).norm())
        )
        found = [groups[f"peers.{k}"]["weight"].tolist() for k in range(2)]
        assert found == [pytest.approx(weights[other]) for other in others[:2]]
    assert told["b"]["peers.0"]["weight"][0] == pytest.approx(1.1)
    # In the next round those lend that took part in this one; where all lie is known.
    again = Peers(paradigm, module)
    again.restore(*peers.save())
    for known in (peers, again):
        known.begin()
        known.note("a", {"weight": torch.tensor(weights["c"])})
        assert set(known.told(["d"], {})["d"]) == {"peers.0", "peers.1"}
        known.end()
        assert known.told(["a", "c"], {})["a"] == {}
        assert set(known.told(["a", "c"], {})["c"]) == {"peers.0"}


def experiment(name="fedmatch", rounds=3, **sections) -> Experiment:
    return Experiment(
        experiment={"rounds": rounds, "seed": 4},
        data={"source": "digits", "clients": 4, "labels": 150} | sections.pop("data", {}),
        model=sections.pop("model", {"name": "mlp", "hidden": [16]}),
        paradigm={"name": name, **sections.pop("paradigm", {})},
        client={"batch_size": 10, "steps": 10, "optimizer": {"name": "sgd", "lr": 0.3}},
        **sections,
    )


class Interrupting(Silent):
    """Raises when a round is finished, as Ctrl-C would."""

    def round_finished(self, record):
        if record["round"] == 2:
            raise KeyboardInterrupt


def test_a_run_that_goes_on_lends_what_it_lent(tmp_path):
    told = experiment(strategy={"name": "fedavg", "fraction": 0.75}, rounds=4)
    whole = umbel.simulate(told, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        umbel.simulate(told, out=tmp_path / "run", observer=Interrupting())
    assert umbel.simulate(told, resume=tmp_path / "run").sha256 == whole.sha256
    alone = umbel.simulate(load_with(told, tmp_path, "paradigm.peers=0"), out=tmp_path / "alone")
    assert alone.sha256 != whole.sha256
    # A round's messages grow by what is lent: nothing in the first.
    down = [[record["bytes_down"] for record in run.records] for run in (whole, alone)]
    assert down[0][0] < 1.01 * down[1][0] and down[0][1] > 1.3 * down[1][1]
    lent = json.loads((tmp_path / "run" / "environment.json").read_text())["lent"]
    assert lent == sorted(f"psi.{name}" for name in whole.model)


def load_with(told, folder, *settings):
    (folder / "exp.toml").write_text(told.to_toml())
    return load(folder / "exp.toml", list(settings))


def test_only_the_server_has_labels(tmp_path):
    """Clients move psi; sigma moves where the labels are."""
    data = {"labels": 100, "labels_at": "server", "source": "optdigits", "held_out": 0.0}
    told = experiment(data=data, rounds=4, strategy={"name": "semifl"})
    result = umbel.simulate(told, out=tmp_path / "run")
    assert evaluation(result.records[-1], "central", "accuracy") > 0.4
    shard = make_shards(told).shard(0)
    bench = Workbench(told, shard.schema, ClientSide())
    run = Result.open(tmp_path / "run")
    assert not [name for name in run.model if name.startswith("psi.")]
    assert bench.model.state_dict().keys() - run.model.keys() == {
        f"psi.{name}" for name in run.model
    }


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"peers.0": {"psi.body.0.weight": torch.ones(2)}}, "does not fit"),
        ({"peers.0": {}}, "does not fit"),
        ("infinite", "not finite"),
    ],
)
def test_a_client_refuses_what_no_other_can_have_lent(groups, said):
    told = experiment()
    bench = Workbench(told, make_shards(told).schema, ClientSide())
    names = [name for name in bench.travels if name.startswith("psi.")]
    lent = {name: value.clone() for name, value in bench.values(tuple(names)).items()}
    bench.receive({"peers.0": lent})
    if groups == "infinite":
        groups = {"peers.0": {name: value / 0 for name, value in lent.items()}}
    with pytest.raises(ValueError, match=said):
        bench.receive(groups)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["paradigm.threshold=1.5"], r"threshold: 1.5 is not in \[0, 1\]"),
        (["paradigm.peers=-1"], "peers: -1 is less than 0"),
        (["paradigm.closeness=-1.0"], "closeness: -1 is less than 0"),
        (["paradigm={name='fixmatch', source='committee', peers=0}"], "peers: 0 is less than 1"),
        (["paradigm={name='fixmatch', source='commitee'}"], "source"),
    ],
)
def test_what_is_refused(tmp_path, settings, said):
    with pytest.raises(BadInput, match=said):
        umbel.simulate(load_with(experiment(), tmp_path, *settings), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_random_example_is_as_examples_are_stored():
    torch.manual_seed(0)
    drawn = random_example(Schema("classification", (40, 40), "uint8"))
    assert drawn.dtype == np.uint8 and drawn.shape == (1, 40, 40)
    # Of normal numbers of the mean 125 and the deviation 125 a sixth is below 0.
    assert 0.13 < (drawn == 0).mean() < 0.19 and 0.12 < (drawn == 255).mean() < 0.18
    assert random_example(Schema("classification", (3,), "float32")).dtype == np.float32
    with pytest.raises(BadInput, match="compared by what they say of random numbers"):
        random_example(Schema("classification", (), "text"))
