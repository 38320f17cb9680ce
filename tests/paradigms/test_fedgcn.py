"""FedGCN: clients that have parts of one graph see across its edges."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
import torch

import umbel
from umbel import registry
from umbel.client.boundary import keep, offered, with_told
from umbel.client.policy import Leave, Limits, Policy
from umbel.client.release import release
from umbel.client.state import StateStore
from umbel.client.workbench import split
from umbel.data import load_dataset, make_shards
from umbel.data.storage import read_shard, write_shards
from umbel.errors import BadInput, Declined, UmbelError, UpdateRefused
from umbel.experiment import Experiment
from umbel.messages import OFFER
from umbel.paradigms.graph.fedgcn import FedGcn
from umbel.server.boundary import Totals, check_one_graph, checked
from umbel.tensors import nbytes

torch_geometric = pytest.importorskip("torch_geometric", reason="`graph` is not installed")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Nodes whose class their neighbours' features tell, and two without any neighbour."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3, 120)
    x = (generator.normal(size=(120, 6)) + 0.4 * np.eye(6)[y]).astype(np.float32)
    near = generator.random((120, 120)) < np.where(y[:, None] == y, 0.1, 0.01)
    near[:2] = near[:, :2] = False
    found = tmp_path_factory.mktemp("graphs") / "graph.npz"
    np.savez(found, x=x, y=y, edges=np.argwhere(np.triu(near, 1)))
    return found


def experiment(path, hops=2, rounds=3, **sections) -> Experiment:
    return Experiment(
        experiment={"rounds": rounds, "seed": 3},
        data={"source": str(path), "clients": 3, "partition": "iid", "held_out": 0.3},
        model={"name": "gcn", "hidden": 8, **sections.pop("model", {})},
        paradigm={"name": "fedgcn", "hops": hops, **sections.pop("paradigm", {})},
        client={
            "steps": 5,
            "batch_size": 0,
            "optimizer": sections.pop("optimizer", {"name": "adam", "lr": 0.02}),
        },
        **sections,
    )


def made(hops=2, **model):
    return FedGcn(lambda schema: registry.build("model", "gcn", model, schema), hops=hops)


def told_shards(told: Experiment, hops: int, folder):
    """The clients' shards after they told each other."""
    paradigm, shards = made(hops), make_shards(told)
    clients = [shards.shard(k) for k in range(3)]
    offers = {clients[k].client: paradigm.offer(clients[k]) for k in range(3)}
    check_one_graph(offers)
    total = Totals(offers, paradigm.width(shards.schema))
    store = StateStore(folder)
    for shard in clients:
        store.keep_told("run", shard.client, total.of(offers[shard.client]["asks"]))
    return [with_told(paradigm, shard, store, "run") for shard in clients]


def both_ways(edges):
    pairs = torch.tensor(edges.T)
    return torch.cat([pairs, pairs.flip(0)], dim=1)


@pytest.mark.parametrize("hops", [1, 2])
def test_the_first_convolution_is_that_of_the_whole_graph(path, tmp_path, hops):
    """Against PyG's own, over the whole graph, with the identity for weights."""
    whole = load_dataset(str(path)).train
    conv = torch_geometric.nn.GCNConv(6, 6, bias=False)
    conv.lin.weight.data = torch.eye(6)
    with torch.no_grad():
        wanted = conv(torch.tensor(whole["x"]), both_ways(whole["edges"]))
    seen = 0
    for shard in told_shards(experiment(path), hops, tmp_path):
        ids = shard.arrays["ids"]
        assert np.array_equal(shard.arrays["x"], whole["x"][ids])
        if hops == 2:
            ids = np.concatenate([ids, np.unique(shard.arrays["outward"][:, 1])])
        found = made(hops).prepare(shard)["x"]
        torch.testing.assert_close(found, wanted[ids], rtol=0, atol=1e-5)
        seen += len(shard)
    assert seen == 120


def test_with_two_hops_two_layers_are_those_of_the_whole_graph(path, tmp_path):
    whole, paradigm = load_dataset(str(path)), made(2)
    torch.manual_seed(1)
    model = paradigm.build(whole.schema).eval()
    with torch.no_grad():
        wanted = model(torch.tensor(whole.train["x"]), both_ways(whole.train["edges"]))
        for shard in told_shards(experiment(path), 2, tmp_path):
            found = paradigm.scores(model, paradigm.prepare(shard))
            torch.testing.assert_close(found, wanted[shard.arrays["ids"]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_one_client_has_the_whole_graph(path, layers):
    """Its scores are its model's own, whatever the number of layers."""
    whole, paradigm = load_dataset(str(path)), made(1, layers=layers)
    model = paradigm.build(whole.schema).eval()
    shard = umbel.data.shard.Shard("one", whole.schema, whole.train)
    with torch.no_grad():
        wanted = model(torch.tensor(whole.train["x"]), both_ways(whole.train["edges"]))
        found = paradigm.scores(model, paradigm.prepare(shard))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_the_order_of_arrival_changes_no_bit():
    """Sums of floats depend on their order; the server adds in that of the names."""
    node = torch.tensor([7])
    told = {"client-2": 1e20, "client-9": 1.0, "client-10": -1e20}
    offers = {name: {"keys": node, "sums": torch.tensor([[n]])} for name, n in told.items()}
    for names in permutations(told):
        total = Totals({name: offers[name] for name in names}, width=1)
        assert total.of(node)["told"].item() == (1e20 + 1.0) - 1e20 == 0.0


def test_a_site_brings_its_part_of_the_graph_in_a_file(path, tmp_path):
    shards = make_shards(experiment(path))
    for k in range(3):
        made_shard = shards.shard(k)
        np.savez(tmp_path / f"client-{k}.npz", **made_shard.arrays)
        read = read_shard(tmp_path / f"client-{k}.npz").arrays
        assert all(np.array_equal(read[name], made_shard.arrays[name]) for name in read)
        assert {"ids", "outward"} <= set(read)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ids": None}, "ids and outward need each other"),
        ({"ids": np.arange(5)}, "begin at nodes that are not there|5 ids for"),
        ({"ids": np.ones(40, np.int64)}, "ids are not int64, one for each node and each only once"),
        ({"outward": np.array([[0, 1]])}, "lead to the client's own nodes"),
        ({"outward": np.array([[0, 500], [0, 500]])}, "outward edges repeat"),
        ({"outward": np.array([[40, 500]])}, "begin at nodes that are not there"),
        ({"outward": np.array([[0.5, 1.0]])}, "outward is float64"),
        ({"outward": np.array([[0, -2]])}, "numbers below 0"),
    ],
)
def test_a_part_of_a_graph_that_is_none_is_refused(path, tmp_path, change, said):
    arrays = {**make_shards(experiment(path)).shard(0).arrays, "ids": np.arange(40)} | change
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez(tmp_path / "bad.npz", **kept)
    with pytest.raises(BadInput, match=f"bad.npz: .*({said})"):
        read_shard(tmp_path / "bad.npz")


def test_what_is_held_out_shares_the_tensors_of_the_graph(path, tmp_path):
    paradigm, shards = made(2), told_shards(experiment(path), 2, tmp_path)
    parts = [split(shard, 0.3, seed=0) for shard in shards]
    pairs = [[paradigm.prepare(part) for part in two] for two in parts]
    for shard, (train, held) in zip(shards, pairs, strict=True):
        assert train["x"] is held["x"] and not set(train["rows"]) & set(held["rows"])
        assert torch.equal(train["x"], made(2).prepare(shard)["x"])


def test_what_leaves_is_of_the_boundary_alone(path):
    shards = make_shards(experiment(path))
    for shard in map(shards.shard, range(3)):
        at_edge = shard.arrays["ids"][np.unique(shard.arrays["outward"][:, 0])]
        beyond = np.unique(shard.arrays["outward"][:, 1])
        one, two = made(1).offer(shard), made(2).offer(shard)
        assert np.array_equal(one["keys"], beyond)
        assert np.array_equal(two["keys"], np.union1d(beyond, at_edge))
        assert one["asks"].tolist() == one["own"].tolist() == sorted(at_edge.tolist())
        # As docs/graphs.md counts them.
        f, b, width = len(beyond), len(at_edge), 6
        assert nbytes(one) == f * (4 * width + 8) + 16 * b
        assert nbytes(two) == (f + b) * (4 * width + 20) + 8 * b


def test_a_run_beats_nodes_alone_and_says_what_travelled(path, tmp_path):
    told = experiment(path, rounds=8)
    alone = told.model_copy(update={"paradigm": Experiment(paradigm="nodes").paradigm})
    found = {}
    for name, each in (("fedgcn", told), ("nodes", alone)):
        result = umbel.simulate(each, out=tmp_path / name)
        found[name] = result.records[-1]["metrics"]["federated"]["accuracy"]
    assert found["fedgcn"] > found["nodes"] + 0.05
    facts = json.loads((tmp_path / "fedgcn" / "environment.json").read_text())
    shards = make_shards(told)
    sent = sum(made(2).offer(shards.shard(k))["sums"].nbytes for k in range(3))
    assert sent < facts["boundary"]["bytes_up"] < 1.6 * sent + 3000
    assert sent < facts["boundary"]["bytes_down"] < 1.6 * sent + 20_000
    assert "boundary" not in json.loads((tmp_path / "nodes" / "environment.json").read_text())


def test_shards_on_disk_and_two_workers_and_resuming_give_the_same_bits(path, tmp_path):
    told = experiment(path)
    shards = make_shards(told)
    write_shards(shards, tmp_path / "shards")
    for k in range(3):
        one, two = shards.shard(k), read_shard(tmp_path / "shards" / f"client-{k}")
        assert one.arrays.keys() == two.arrays.keys() > {"ids", "outward"}
        assert all(np.array_equal(one.arrays[name], two.arrays[name]) for name in one.arrays)
    calm = umbel.simulate(told, out=tmp_path / "calm")
    sections = told.model_dump(exclude_unset=True) | {"simulation": {"workers": 2}}
    assert umbel.simulate(Experiment(**sections), out=tmp_path / "two").sha256 == calm.sha256

    class Crash(umbel.server.observer.Silent):
        def round_finished(self, record):
            if record["round"] == 2:
                raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        umbel.simulate(told, out=tmp_path / "cut", observer=Crash())
    before = json.loads((tmp_path / "cut" / "environment.json").read_text())["boundary"]
    assert umbel.simulate(told, resume=tmp_path / "cut").sha256 == calm.sha256
    facts = json.loads((tmp_path / "cut" / "environment.json").read_text())
    assert facts["boundary"] == before


def test_a_client_keeps_nothing_that_it_did_not_ask_for(path, tmp_path):
    paradigm, shard = made(1), make_shards(experiment(path)).shard(0)
    asks, store = paradigm.offer(shard)["asks"], StateStore(tmp_path)
    fine = {"told_ids": asks, "told": torch.ones(len(asks), 6)}
    for change, said in (
        ({"told": fine["told"][1:]}, "tensor 'told' has shape"),
        ({"told_ids": asks + 1}, "about other nodes"),
        ({"told": fine["told"] / 0}, "not finite"),
    ):
        with pytest.raises(UmbelError, match=said):
            keep(paradigm, shard, {"boundary": {**fine, **change}}, store, "run")
    with pytest.raises(UmbelError, match="client-0: took no part in what clients tell"):
        paradigm.prepare(with_told(paradigm, shard, store, "run"))
    keep(paradigm, shard, {"boundary": fine}, store, "run")
    assert len(paradigm.prepare(with_told(paradigm, shard, store, "run"))["x"]) == len(shard)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (Policy(limits=Limits(min_examples=2)), "fewer than limits.min_examples"),
        (Policy(leave=Leave(statistics=["mean"])), "asks, sent beside the model, is not among"),
        (Policy(leave=Leave(clip_norm=1.0, noise_multiplier=1.0)), "is not among leave.statistics"),
    ],
)
def test_a_site_that_allows_no_such_sums_tells_nothing(path, policy, said):
    told = offered(made(1), make_shards(experiment(path)).shard(0))
    assert release(Policy(leave=Leave(errors=True)), OFFER, {}, told) is told
    with pytest.raises(Declined, match=said):
        release(policy, OFFER, {}, told)


@pytest.mark.parametrize("strategy", ["fedprox", "scaffold", "median"])
def test_with_other_strategies(path, tmp_path, strategy):
    told = experiment(
        path, hops=1, rounds=2, strategy=strategy, optimizer={"name": "sgd", "lr": 0.1}
    )
    result = umbel.simulate(told, out=tmp_path / "run")
    assert [row["status"] for row in result.records[-1]["clients"]] == ["ok"] * 3


def spoilt(offer, **changes):
    return {
        "boundary": {**offer, **{name: change(offer[name]) for name, change in changes.items()}}
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sums": lambda s: s.double()}, "tensor 'sums' is torch.float64"),
        ({"sums": lambda s: s[:, 1:]}, r"tensor 'sums' has shape"),
        ({"sums": lambda s: s * float("nan")}, "not finite"),
        ({"sums": lambda s: s + 1e31}, "beyond 1e.30"),
        ({"keys": lambda k: k.flip(0)}, "keys does not hold ids from 0 in ascending order"),
        ({"keys": lambda k: k[[0, 0, *range(2, len(k))]]}, "each once"),
        ({"keys": lambda k: k - k[0] - 1}, "ids from 0"),
        ({"own": lambda o: o.float()}, "own is torch.float32"),
        ({"asks": lambda a: torch.tensor([10**9])}, "asks for nodes that it has no edge to"),
        ({"more": lambda _: torch.ones(1)}, "not own, keys, sums and asks"),
    ],
)
def test_an_offer_that_is_none_is_refused(path, changes, said):
    offer = made(2).offer(make_shards(experiment(path)).shard(0)) | {"more": torch.ones(1)}
    kept = {name: offer[name] for name in ("own", "keys", "sums", "asks", *changes)}
    with pytest.raises(UpdateRefused, match=said):
        checked(spoilt(kept, **changes), 7, 1000)


def test_too_many_nodes_are_refused(path):
    offer = made(2).offer(make_shards(experiment(path)).shard(0))
    with pytest.raises(UpdateRefused, match="ids, beyond server.max_examples"):
        checked({"boundary": offer}, 7, 10)


def test_parts_that_make_no_graph_are_refused(path):
    shards, paradigm = make_shards(experiment(path)), made(1)
    offers = {f"client-{k}": paradigm.offer(shards.shard(k)) for k in range(3)}
    twin = {**offers, "client-2": offers["client-1"]}
    with pytest.raises(BadInput, match=r"node \d+ is at client-1 and at client-2; mend"):
        check_one_graph(twin)
    with pytest.raises(BadInput, match=r"client-0 has an edge to node \d+, and nobody from there"):
        check_one_graph({name: offers[name] for name in ("client-0", "client-1")})
    lost = {**offers["client-2"], "keys": offers["client-2"]["keys"][:0]}
    with pytest.raises(BadInput, match=r"node \d+ of client-\d has an edge to elsewhere, nobody"):
        check_one_graph(
            {"client-2": {**lost}, "client-1": {**offers["client-1"], "keys": lost["keys"]}}
        )


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"model": {"name": "gin"}}, "fedgcn is for graph convolutions alone; set it to gcn"),
        ({"hops": 3}, "hops: 3 is neither 1 nor 2"),
    ],
)
def test_what_does_not_fit_is_refused(path, tmp_path, sections, said):
    with pytest.raises(BadInput, match=said):
        umbel.simulate(experiment(path, **sections), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_offer_may_not_ask_or_tell_of_what_is_not_the_clients():
    offer = {
        "own": torch.tensor([1, 4]),
        "keys": torch.tensor([1, 4, 6]),
        "sums": torch.tensor([[1.0, 3.0], [1.0, 2.0], [1.0, 0.0]]),
        "asks": torch.tensor([1, 4, 6]),
    }
    near, far = (FedGcn(lambda schema: None, hops=hops) for hops in (1, 2))
    assert near.offer_fault(offer) == "it asks for other nodes than its own"
    assert near.offer_fault({**offer, "asks": offer["own"]}) == ""
    assert far.offer_fault(offer) == ""
    told = offer["sums"] + torch.tensor([[0.0], [0.0], [2.0]])
    assert (
        far.offer_fault({**offer, "sums": told}) == "it tells degrees of nodes that are not its own"
    )
