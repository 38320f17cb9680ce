"""FedSage+: neighbours are made up for those at other clients."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import umbel
from umbel import registry
from umbel.data import make_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.exporting.run import export
from umbel.paradigms.graph.fedsage import FedSage
from umbel.paradigms.graph.mending import degree_loss, feature_loss, impaired, mended
from umbel.rounds import evaluation
from umbel.tensors import nbytes

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")

HIDDEN_EDGES = torch.tensor([[0, 0, 1], [2, 3, 3]])
EDGES = torch.cat([torch.tensor([[0], [1]]), HIDDEN_EDGES], dim=1)
BOTH = torch.cat([EDGES, EDGES.flip(0)], dim=1)
KEPT = torch.tensor([True, True, False, False])
X = torch.tensor([[0.0], [0.0], [2.0], [6.0]])


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Two kinds of nodes, linked mostly to their own, whose features tell a little of the kind."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 150)
    x = (generator.normal(size=(150, 6)) * 0.4 + np.eye(6)[y]).astype(np.float32)
    near = generator.random((150, 150)) < np.where(y[:, None] == y, 0.08, 0.01)
    found = tmp_path_factory.mktemp("graphs") / "graph.npz"
    np.savez(found, x=x, y=y, edges=np.argwhere(np.triu(near, 1)))
    return found


def experiment(path, *, rounds=4, model="graphsage", strategy="fedavg", adam=True, **parameters):
    optimizer = {"name": "adam", "lr": 0.02} if adam else {"name": "sgd", "lr": 0.02}
    return Experiment(
        experiment={"rounds": rounds, "seed": 3},
        data={"source": str(path), "clients": 3, "partition": "iid", "held_out": 0.3},
        model={"name": model, "hidden": 16},
        paradigm={"name": "fedsage", "generator_rounds": 2, **parameters},
        strategy=strategy,
        client={"steps": 8, "batch_size": 0, "optimizer": optimizer},
    )


def made(**parameters):
    model = {"hidden": 16}
    return FedSage(lambda schema: registry.build("model", "graphsage", model, schema), **parameters)


def test_what_is_hidden_by_hand():
    left, missing = impaired(BOTH, KEPT)
    assert left.tolist() == [[0, 1], [1, 0]]
    assert missing.tolist() == HIDDEN_EDGES.tolist()


def test_the_terms_of_the_loss_by_hand():
    """Node 0 lacks two neighbours and is said to lack 1.6, node 1 one and 0.4."""
    count = torch.tensor([1.6, 0.4, 3.0, 3.0])
    features = torch.tensor([[[1.0], [4.0]], [[9.0], [9.0]], [[7.0], [7.0]], [[7.0], [7.0]]])
    # Smooth L1 below 1: half of .4 squared, and of .6 squared.
    assert degree_loss(count, HIDDEN_EDGES, KEPT).item() == pytest.approx((0.08 + 0.18) / 2)
    # Two are made up for node 0, 1 off 2 and 2 off both; for node 1 none is.
    found = feature_loss(count, features, X, HIDDEN_EDGES, KEPT)
    assert found.item() == pytest.approx((1.0 + 4.0) / 2)
    # Of a node that lacks nobody, what is made up costs nothing.
    alone = feature_loss(count, features, X, HIDDEN_EDGES[:, :0], KEPT)
    assert alone.item() == 0.0


def test_the_loss_is_the_sum_of_its_terms(path):
    """Against the terms one by one, with the noise drawn from the same generator."""
    shards = make_shards(experiment(path))
    paradigm = made(hide=0.4, degree_weight=0.5, feature_weight=0.25, most=3)
    model = paradigm.build(shards.schema).eval()
    prepared = paradigm.prepare(shards.shard(0))
    paradigm.begin(model, prepared, 1)
    [batch] = paradigm.batches(prepared, 0, torch.Generator().manual_seed(1))
    found = paradigm.loss(model, batch, torch.Generator().manual_seed(2))
    kept, x = batch["kept"], batch["x"]
    left, missing = impaired(batch["edges"], kept)
    count, features = model.generator(x, left, torch.Generator().manual_seed(2))
    noiseless = model.generator(x, left)
    assert torch.equal(count, noiseless[0]) and not torch.equal(features, noiseless[1])
    assert features.shape == (len(x), 3, 6)
    scores = model.classifier(*mended(x, left, count * kept, features))
    rows, y = batch["rows"][kept[batch["rows"]]], batch["y"][kept[batch["rows"]]]
    wanted = (
        0.5 * degree_loss(count, missing, kept)
        + 0.25 * feature_loss(count, features, x, missing, kept)
        + cross_entropy(scores[rows], y)
    )
    torch.testing.assert_close(found, wanted)
    assert 0 < kept.sum() < len(kept)


def test_the_generator_learns_what_is_hidden_and_then_stays(path, tmp_path):
    """The two losses on nodes that no round hid just so, before and after."""
    told = {n: experiment(path, rounds=n, generator_rounds=24) for n in (25, 26)}
    shards, paradigm = make_shards(told[25]), made()
    model = built(paradigm, shards.schema)
    begun = losses(paradigm, model, shards)
    learnt, later = (umbel.simulate(e, out=tmp_path / f"{n}").model for n, e in told.items())
    model.load_state_dict(learnt)
    assert losses(paradigm, model, shards) < 0.9 * begun
    for name, value in later.items():
        assert torch.equal(value, learnt[name]) == name.startswith("generator."), name


def built(paradigm, schema):
    torch.manual_seed(0)
    return paradigm.build(schema).eval()


def losses(paradigm, model, shards):
    total = 0.0
    for k in range(3):
        prepared = paradigm.prepare(shards.shard(k))
        kept = torch.arange(len(prepared["x"])) % 2 == 0
        left, missing = impaired(prepared["edges"], kept)
        with torch.no_grad():
            count, features = model.generator(prepared["x"], left)
            total += float(degree_loss(count, missing, kept))
            # Whatever their number, so that numbers are not what is compared.
            most = torch.full_like(count, 5.0)
            total += float(feature_loss(most, features, prepared["x"], missing, kept))
    return total


def test_a_weight_that_decays_does_not_move_a_generator_that_stays(path, tmp_path):
    sections = experiment(path, rounds=3).model_dump(exclude_unset=True)
    sections["client"]["optimizer"] = {"name": "adam", "lr": 0.01, "weight_decay": 0.1}
    models = []
    for rounds in (3, 4):
        sections["experiment"]["rounds"] = rounds
        models.append(umbel.simulate(Experiment(**sections), out=tmp_path / f"{rounds}").model)
    assert all(
        torch.equal(value, models[1][name])
        for name, value in models[0].items()
        if name.startswith("generator.")
    )


@pytest.mark.parametrize("model", ["graphsage", "gcn"])
def test_it_learns_the_nodes_and_nothing_else_leaves(path, tmp_path, model):
    result = umbel.simulate(experiment(path, rounds=8, model=model), out=tmp_path / "run")
    assert evaluation(result.records[-1], "federated", "accuracy") > 0.85
    with chdir(export(tmp_path / "run", tmp_path / "out", onnx=False)):
        code = Path("README.md").read_text().partition("```python\n")[2].partition("```")[0]
        read: dict = {}
        exec(code, read)
    assert read["scores"].shape == (2, 2) and "generator.degree.weight" in dict(
        read["model"].named_parameters()
    )
    # As docs/graphs.md counts them: F features, 5 neighbours, an encoder and a generator of 64.
    parts = {n: t for n, t in result.model.items() if n.startswith("generator.")}
    width = 6
    assert nbytes(parts) == 4 * (2 * 64 * width + 5 * 65 * width + 12_545)


@pytest.mark.parametrize("strategy", ["fedprox", "scaffold", "fedadam", "fedper", "median"])
def test_with_other_strategies(path, tmp_path, strategy):
    told = experiment(path, rounds=3, strategy=strategy, adam=strategy != "scaffold")
    result = umbel.simulate(told, out=tmp_path / "run")
    assert [row["status"] for row in result.records[-1]["clients"]] == ["ok"] * 3


def test_a_node_that_is_hidden_is_heard_by_nobody():
    """A graph of which all is hidden but one node still has a loss."""
    x = torch.eye(3)
    schema = umbel.schema.Schema("node-classification", (3,), "float32", ("a", "b"))
    paradigm = made()
    model = paradigm.build(schema)
    edges = torch.tensor([[0, 1], [1, 0]])
    batch = {"rows": torch.tensor([1]), "y": torch.tensor([0]), "x": x, "edges": edges}
    for kept in ([True, False, False], [False, False, False], [True, True, True]):
        batch["kept"] = torch.tensor(kept)
        assert bool(paradigm.loss(model, batch, torch.Generator().manual_seed(0)).isfinite())


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"hide": 1.0}, r"hide: 1 is not in \(0, 1\)"),
        ({"most": 0}, "most: 0 is less than 1"),
        ({"generator_rounds": 0}, "generator_rounds: 0 is less than 1"),
        ({"feature_weight": -1.0}, "feature_weight: -1 is not a number from 0"),
        (
            {"generator_rounds": 4},
            r"experiment.rounds: 4 is not more than .*generator_rounds \(4\)",
        ),
        ({"rounds": 10, "generator_rounds": 10}, "set at least 11, or fewer generator_rounds"),
        ({"degree_weight": float("inf")}, "degree_weight: must be a finite number, found inf"),
    ],
)
def test_impossible_values_are_refused(path, parameters, said):
    with pytest.raises(BadInput, match=said):
        umbel.experiment.check(experiment(path, **parameters))


def test_the_defaults_are_refused_for_they_would_end_with_the_generator(umbel, tmp_path):
    (tmp_path / "exp.toml").write_text('[paradigm]\nname = "fedsage"\n')
    for command in ("check", "simulate"):
        code, _, said = umbel(command, "exp.toml")
        assert code == 2 and said == (
            "umbel: exp.toml: experiment.rounds: 10 is not more than paradigm.generator_rounds "
            "(10), after which fedsage trains its model on whole graphs; set at least 11, or fewer "
            "generator_rounds\n"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["exp.toml"]


def test_strategies_that_look_into_the_model_and_numbers_of_edges_are_refused(path, tmp_path):
    with pytest.raises(BadInput, match="which the paradigm fedsage does not call"):
        umbel.experiment.check(experiment(path, strategy="moon"))
    arrays = dict(np.load(path))
    np.savez(tmp_path / "told.npz", **arrays, edge_x=np.ones((len(arrays["edges"]), 2)))
    with pytest.raises(BadInput, match="fedsage makes up no numbers of edges"):
        umbel.simulate(experiment(tmp_path / "told.npz"), out=tmp_path / "run")
