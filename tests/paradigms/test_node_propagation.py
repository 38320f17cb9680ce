"""Labels that spread over a graph that is divided among clients, as over the whole one."""

from __future__ import annotations

import json
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import umbel
from umbel.building import build_paradigm
from umbel.client.boundary import keep, offered, shard_to_tell, with_told
from umbel.client.policy import Leave, Limits, Policy
from umbel.client.release import release
from umbel.client.state import StateStore
from umbel.client.workbench import Workbench
from umbel.data import load_dataset, make_shards
from umbel.errors import BadInput, Declined, UmbelError
from umbel.experiment import Experiment
from umbel.exporting.run import export
from umbel.messages import OFFER
from umbel.paradigms.graph.propagation import NodePropagation
from umbel.server.boundary import Totals, check_one_graph
from umbel.strategies.strategy import ClientSide
from umbel.tensors import nbytes

torch_geometric = pytest.importorskip("torch_geometric", reason="`graph` is not installed")

CLASSES = 3


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Groups of nodes that are mostly linked among themselves; a third have a label. Two nodes have
    no neighbour, and two only each other, none of them a label."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, CLASSES, 100)
    near = generator.random((100, 100)) < np.where(y[:, None] == y, 0.09, 0.015)
    near[:4] = near[:, :4] = False
    near[2, 3] = True
    y[[0, 1, 2, 3]] = 1
    role = np.where(generator.random(100) < 0.3, 0, 2)
    role[:4] = 2
    found = tmp_path_factory.mktemp("graphs") / "graph.npz"
    parts = {"train": np.flatnonzero(role == 0), "test": np.flatnonzero(role == 2)}
    x, edges = np.zeros((100, 1), np.float32), np.argwhere(np.triu(near, 1))
    np.savez(found, x=x, y=y, edges=edges, **parts)
    return found


def experiment(path, *, clients=3, **parameters) -> Experiment:
    return Experiment(
        experiment={"rounds": 1, "seed": 3},
        data={"source": str(path), "clients": clients, "partition": "iid"},
        paradigm={"name": "node-propagation", **parameters},
        evaluation={"central": False},
    )


def one_place(path, alpha):
    """F (n, classes) in closed form, or by PyTorch Geometric's iterations."""
    arrays = dict(np.load(path))
    count, known = len(arrays["y"]), arrays["train"]
    given = np.zeros((count, CLASSES))
    given[known, arrays["y"][known]] = 1
    pairs = torch.tensor(np.concatenate([arrays["edges"], arrays["edges"][:, ::-1]]).T.copy())
    if alpha is not None:
        spread = torch_geometric.nn.LabelPropagation(num_layers=400, alpha=alpha)
        mask = torch.zeros(count, dtype=torch.bool)
        mask[known] = True
        return spread(torch.tensor(arrays["y"]), pairs, mask).numpy()
    near = np.zeros((count, count))
    near[tuple(pairs.numpy())] = 1
    free = np.setdiff1d(np.arange(count), known)
    # What no label reaches stays at 0, which the pseudoinverse gives too.
    laplacian = np.diag(near.sum(axis=1)) - near
    inverse = np.linalg.pinv(laplacian[np.ix_(free, free)])
    given[free] = inverse @ near[np.ix_(free, known)] @ given[known]
    return np.where(given > 1e-12, given, 0.0)


def settled(told: Experiment, folder, turns=200):
    """(bench, the clients' training parts) after so many exchanges through both ends' code."""
    shards, store = make_shards(told), StateStore(folder)
    bench = Workbench(told, shards.schema, ClientSide())
    clients = [shards.shard(k) for k in range(told.data.clients)]
    for turn in range(1, turns + 1):
        header = {"run": "run", "turn": turn}
        parts = {s.client: shard_to_tell(bench, s, store, header) for s in clients}
        offers = {name: bench.paradigm.offer(part) for name, part in parts.items()}
        assert [bench.paradigm.offer_fault(offer) for offer in offers.values()] == [""] * 3
        check_one_graph(offers)
        total = Totals(offers, CLASSES)
        for shard in clients:
            groups = {"boundary": total.of(offers[shard.client]["asks"])}
            keep(bench.paradigm, shard, groups, store, "run")
    return bench, [with_told(bench.paradigm, bench.divided(s)[0], store, "run") for s in clients]


@pytest.mark.parametrize("alpha", [None, 0.8])
def test_it_is_label_propagation_over_the_whole_graph(path, tmp_path, alpha):
    wanted, seen = one_place(path, alpha), 0
    bench, parts = settled(experiment(path, alpha=alpha), tmp_path, turns=40)
    for part in parts:
        found = bench.paradigm.spread(bench.paradigm.prepare(part))
        np.testing.assert_allclose(found, wanted[part.arrays["ids"]], rtol=0, atol=1e-5)
        seen += len(part)
    assert seen == 100
    assert not wanted[:4].any() and np.abs(wanted).max() <= 1 + 1e-6
    # One exchange is not enough: that it comes to this is the exchanges' doing.
    bench, parts = settled(experiment(path, alpha=alpha), tmp_path / "once", turns=1)
    far = [
        np.abs(bench.paradigm.spread(bench.paradigm.prepare(p)) - wanted[p.arrays["ids"]]).max()
        for p in parts
    ]
    assert max(far) > 0.05


@pytest.mark.parametrize("alpha", [None, 0.8])
def test_a_run_judges_as_in_one_place(path, tmp_path, alpha):
    arrays, wanted = dict(np.load(path)), one_place(path, alpha)
    prior = np.bincount(arrays["y"][arrays["train"]], minlength=CLASSES)
    wanted = wanted.round(6)
    wanted = np.where(wanted.any(axis=1, keepdims=True), wanted, prior)
    shares = (wanted / wanted.sum(axis=1, keepdims=True))[arrays["test"]]
    truth = arrays["y"][arrays["test"]]
    losses = -np.log(np.maximum(shares[np.arange(len(truth)), truth], 1e-6))
    found = {}
    for clients in (1, 3):
        told = experiment(path, clients=clients, alpha=alpha)
        result = umbel.simulate(told, out=tmp_path / f"{clients}")
        metrics = found[clients] = result.records[-1]["metrics"]["federated"]
        assert metrics["examples"] == len(truth)
        assert metrics["accuracy"] == pytest.approx(np.mean(shares.argmax(axis=1) == truth))
        assert metrics["loss"] == pytest.approx(losses.mean(), abs=1e-4)
        assert result.model["labels"].tolist() == prior.tolist()
        facts = json.loads((tmp_path / f"{clients}" / "environment.json").read_text())["boundary"]
        assert facts["exchanges"] == 1 if clients == 1 else 5 < facts["exchanges"] < 1000
    assert found[3]["accuracy"] > 0.65
    with chdir(export(tmp_path / "3", tmp_path / "out", onnx=False)):
        code = Path("README.md").read_text().partition("```python\n")[2].partition("```")[0]
        read: dict = {}
        exec(code, read)
    np.testing.assert_allclose(read["scores"].exp()[0], prior / prior.sum(), rtol=1e-6)


def test_two_workers_and_resuming_give_the_same_bits(path, tmp_path):
    told = experiment(path, exchanges=6)
    told = told.model_copy(update={"experiment": Experiment(experiment={"rounds": 2}).experiment})
    calm = umbel.simulate(told, out=tmp_path / "calm")
    sections = told.model_dump(exclude_unset=True) | {"simulation": {"workers": 2}}

    class Crash(umbel.server.observer.Silent):
        def round_finished(self, record):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        umbel.simulate(told, out=tmp_path / "cut", observer=Crash())
    two = umbel.simulate(Experiment(**sections), out=tmp_path / "two")
    again = umbel.simulate(told, resume=tmp_path / "cut")
    for other in (two, again):
        assert other.sha256 == calm.sha256
        assert [r["metrics"] for r in other.records] == [r["metrics"] for r in calm.records]
    told_each = [
        json.loads((tmp_path / name / "environment.json").read_text())["boundary"]
        for name in ("calm", "two", "cut")
    ]
    assert told_each[0] == told_each[1] == told_each[2]


def test_few_exchanges_are_told_of(path, tmp_path):
    class Notes(umbel.server.observer.Silent):
        def __init__(self):
            self.said = []

        def note(self, text):
            self.said.append(text)

    notes = Notes()
    umbel.simulate(experiment(path, exchanges=3), out=tmp_path / "run", observer=notes)
    assert any("after 3 exchanges what clients are told still moves, by up to 0." in note
               for note in notes.said)  # fmt: skip


def test_what_leaves_is_of_the_boundary_alone(path, tmp_path):
    told = experiment(path)
    shards, paradigm = make_shards(told), NodePropagation(None)
    for shard in map(shards.shard, range(3)):
        at_edge = shard.arrays["ids"][np.unique(shard.arrays["outward"][:, 0])]
        beyond = np.unique(shard.arrays["outward"][:, 1])
        offer = paradigm.offer(shard)
        assert offer["asks"].tolist() == offer["own"].tolist() == sorted(at_edge.tolist())
        assert np.array_equal(offer["keys"], beyond)
        # As docs/graphs.md counts them.
        f, b = len(beyond), len(at_edge)
        assert nbytes(offer) == f * (4 * CLASSES + 8) + 16 * b
        assert nbytes(Totals({"a": offer}, CLASSES).of(offer["keys"])) == f * (4 * CLASSES + 8)


def test_labels_that_are_held_out_are_not_told(path, tmp_path):
    """Whatever they are, what leaves is the same."""
    told, other = experiment(path), tmp_path / "other.npz"
    arrays = dict(np.load(path))
    arrays["y"][arrays["test"]] = (arrays["y"][arrays["test"]] + 1) % CLASSES
    np.savez(other, **arrays)
    offers = []
    for source in (path, other):
        shards = make_shards(experiment(source))
        bench = Workbench(told, shards.schema, ClientSide())
        header = {"run": "run", "turn": 1}
        part = shard_to_tell(bench, shards.shard(0), StateStore(tmp_path), header)
        offers.append(bench.paradigm.offer(part))
    assert all(torch.equal(offers[0][name], offers[1][name]) for name in offers[0])
    assert float(offers[0]["sums"].sum()) > 1


def test_a_client_that_lost_what_it_was_told_says_so(path, tmp_path):
    told, store = experiment(path), StateStore(tmp_path)
    shards = make_shards(told)
    bench = Workbench(told, shards.schema, ClientSide())
    with pytest.raises(UmbelError, match="is not in its state folder any more"):
        shard_to_tell(bench, shards.shard(0), store, {"run": "run", "turn": 2})
    with pytest.raises(UmbelError, match="client-0: took no part in what clients tell"):
        bench.paradigm.prepare(shards.shard(0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"asks": torch.tensor([4])}, "it asks for other nodes than its own"),
        ({"keys": torch.tensor([4, 6])}, "it tells of its own nodes"),
        ({"sums": torch.tensor([[0.5, 1.6], [0.0, 0.0]])}, "no sums of shares of its nodes"),
        ({"sums": torch.tensor([[0.5, -0.1], [0.0, 0.0]])}, "no sums of shares of its nodes"),
    ],
)
def test_an_offer_that_no_honest_client_makes_is_refused(change, said):
    own = torch.tensor([1, 4])
    sums = torch.tensor([[0.5, 1.5], [0.0, 0.0]])
    offer = {"own": own, "asks": own, "keys": torch.tensor([5, 6]), "sums": sums}
    paradigm = NodePropagation(None)
    assert paradigm.offer_fault(offer) == ""
    assert said in paradigm.offer_fault(offer | change)


def test_a_site_may_decline(path):
    told = offered(NodePropagation(None), make_shards(experiment(path)).shard(0))
    assert release(Policy(), OFFER, {}, told) is told
    for policy in (Policy(limits=Limits(min_examples=2)), Policy(leave=Leave(statistics=[]))):
        with pytest.raises(Declined):
            release(policy, OFFER, {}, told)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"alpha": 1.0}, r"alpha: 1 is not in \(0, 1\)"),
        ({"exchanges": 1}, "exchanges: 1 is not at least 2"),
        ({"tolerance": -1.0}, "tolerance: -1 is less than 0"),
    ],
)
def test_impossible_values_are_refused(path, parameters, said):
    with pytest.raises(BadInput, match=said):
        umbel.experiment.check(experiment(path, **parameters))


def test_data_without_labels_or_without_nodes_is_refused(path, tmp_path):
    told = experiment("digits")
    with pytest.raises(BadInput, match="node-propagation is about classes of nodes"):
        umbel.simulate(told, out=tmp_path / "digits")
    arrays = dict(np.load(path)) | {"train": np.array([], np.int64)}
    np.savez(tmp_path / "unlabelled.npz", **arrays)
    with pytest.raises(BadInput, match="no client has labelled examples to train on"):
        umbel.simulate(experiment(tmp_path / "unlabelled.npz"), out=tmp_path / "run")
    schema = load_dataset(str(path)).schema
    assert schema.task == "node-classification"
    with pytest.raises(BadInput, match="node-propagation spreads labels, and no node has one"):
        build_paradigm(experiment(path)).build(replace(schema, classes=()))
