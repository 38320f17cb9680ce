"""The server's test examples on a plane: their features and components computed by other means."""

from __future__ import annotations

import json

import numpy as np
import pytest

import umbel
from umbel.data import load_dataset
from umbel.errors import BadInput, UmbelError
from umbel.experiment import Experiment, check
from umbel.randomness import numpy_generator
from umbel.result import Result
from umbel.server.report import report_page

MLP = {"name": "mlp", "hidden": [16]}
SHOWN = {"embeddings": True, "gain": False}


def experiment(**sections) -> Experiment:
    sections.setdefault("data", {"clients": 2, "test": "digits"})
    sections.setdefault("model", MLP)
    sections.setdefault("evaluation", SHOWN)
    rounds = sections.pop("rounds", 2)
    return Experiment(experiment={"rounds": rounds, "seed": 4}, **sections)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Experiment, Result]:
    told = experiment()
    return told, umbel.simulate(told, out=tmp_path_factory.mktemp("embeddings") / "run")


def test_the_plane_is_that_of_the_singular_vectors(run):
    result = run[1]
    found, test = result.embeddings, load_dataset("digits").train
    total = len(test["y"])
    assert (found.examples, found.width, len(found.points)) == (total, 16, 1000)
    drawn = numpy_generator(4, purpose="embeddings").choice(total, 1000, replace=False)
    drawn.sort()
    np.testing.assert_array_equal(found.truth, test["y"][drawn])
    weights = {name: value.double().numpy() for name, value in result.model.items()}
    pixels = test["x"][drawn].reshape(1000, -1) / 255.0
    hidden = np.maximum(pixels @ weights["body.1.weight"].T + weights["body.1.bias"], 0)
    scores = hidden @ weights["head.weight"].T + weights["head.bias"]
    np.testing.assert_array_equal(found.told, scores.argmax(1))
    about = hidden - hidden.mean(0)
    _, sizes, vectors = np.linalg.svd(about, full_matrices=False)
    np.testing.assert_allclose(found.explained, (sizes**2 / (sizes**2).sum())[:2], rtol=1e-4)
    for k in (0, 1):
        vector = vectors[k] * np.sign(vectors[k][np.abs(vectors[k]).argmax()])
        np.testing.assert_allclose(found.points[:, k], about @ vector, atol=1e-4)
    assert "Test examples by what the model makes of them" in report_page(result.folder)


def test_it_changes_no_bit_and_a_run_that_goes_on_tells_it(run, tmp_path):
    told, result = run
    sections = told.model_dump(exclude_unset=True)
    off = umbel.simulate(Experiment(**sections | {"evaluation": {}}), out=tmp_path / "off")
    assert off.sha256 == result.sha256 and off.embeddings is None
    alone = {"embeddings": True, "central": False}
    again = umbel.simulate(Experiment(**sections | {"evaluation": alone}), out=tmp_path / "again")
    path, expected = tmp_path / "again" / "embeddings.json", result.folder / "embeddings.json"
    assert path.read_bytes() == expected.read_bytes()
    assert "central" not in again.records[-1]["metrics"]
    path.unlink()
    umbel.simulate(told, resume=tmp_path / "again")
    assert path.read_bytes() == expected.read_bytes()


def graph(folder, *, rows: int = 60) -> str:
    generator = np.random.default_rng(0)
    y = np.arange(rows) % 2
    near = generator.random((rows, rows)) < np.where(y[:, None] == y, 0.15, 0.02)
    x = (generator.normal(size=(rows, 4)) + 0.5 * np.eye(4)[y]).astype(np.float32)
    y[:5] = -1
    path = folder / "nodes.npz"
    np.savez(path, x=x, y=y, edges=np.argwhere(np.triu(near, 1)))
    return str(path)


PLANS = {
    "finetune": ({"paradigm": "finetune"}, 16),
    "forest": ({"paradigm": {"name": "forest", "trees": 3}, "strategy": "pool"}, 16),
    "mean-teacher": ({"paradigm": "mean-teacher", "data": {"labelled": 0.5}}, 16),
    "nodes": ({"paradigm": "nodes", "model": {"name": "gcn", "hidden": 6}}, 6),
    "fedsage": (
        {
            "paradigm": {"name": "fedsage", "generator_rounds": 1},
            "model": {"name": "graphsage", "hidden": 6},
        },
        6,
    ),
    "graphs": ({"paradigm": "graphs", "model": {"name": "gin", "hidden": 6}}, 6),
    "neighbour-graph": ({"paradigm": "neighbour-graph", "model": {"name": "gcn", "hidden": 6}}, 6),
}


@pytest.mark.parametrize("plan", PLANS)
def test_of_every_kind_of_model(plan, tmp_path):
    """What the central evaluation scores is what the picture shows."""
    sections, width = PLANS[plan]
    data, examples = {"clients": 2, "test": "digits", **sections.get("data", {})}, 1797
    if width == 6:
        pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")
    if plan in ("nodes", "fedsage"):
        source, examples = graph(tmp_path), 55
        data = {"clients": 2, "source": source, "test": source, "held_out": 0.3}
    elif plan == "graphs":
        data = {"clients": 2, "source": "their_graphs:shapes", "test": "their_graphs:shapes"}
        examples = 120
    result = umbel.simulate(experiment(**sections | {"data": data}), out=tmp_path / "run")
    found = result.embeddings
    assert (found.examples, found.width) == (examples, width)
    assert len(found.points) == min(1000, examples) and found.points.std() > 0
    if examples < 1000:
        accuracy = result.records[-1]["metrics"]["central"]["accuracy"]
        assert (found.truth == found.told).mean() == pytest.approx(accuracy)


def test_what_cannot_be_shown_is_refused_before_round_1(tmp_path):
    with pytest.raises(BadInput, match="evaluation.embeddings: links tells no classes; leave it"):
        check(experiment(paradigm="links", model="gcn"))
    refused = {
        "server has no test examples to show; set data.test": {"data": {"clients": 2}},
        "Neighbours names no output_layer and has no head": {
            **{"paradigm": "label-propagation", "rounds": 9}
        },
    }
    for reason, sections in refused.items():
        with pytest.raises(BadInput, match=f"^evaluation.embeddings: .*{reason}"):
            umbel.simulate(experiment(**sections), out=tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_damaged_file_is_told(run, tmp_path):
    told = json.loads((run[1].folder / "embeddings.json").read_text())
    (tmp_path / "experiment.toml").write_text("")
    for harm in ({"truth": [0]}, {"told": [10] * 1000}, {"points": [[0]]}, {"explained": 1}):
        (tmp_path / "embeddings.json").write_text(json.dumps(told | harm))
        with pytest.raises(UmbelError, match=r"embeddings.json: is damaged \(.*; remove it"):
            _ = Result.open(tmp_path).embeddings
