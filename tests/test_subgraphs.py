"""Parts of the clients' graphs after a run, in every runtime, and what cannot be shown."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import umbel
from umbel.data import make_shards
from umbel.errors import UmbelError
from umbel.experiment import Experiment, load
from umbel.result import Result
from umbel.server.report import report_page

pytest.importorskip("torch_geometric", reason="the extra `graph` is not installed")

TOML = """
[experiment]
rounds = 1
seed = 4
[data]
source = "{source}"
clients = 3
[model]
name = "{model}"
hidden = 4
[paradigm]
name = "{paradigm}"
[evaluation]
subgraphs = true
"""


def experiment(folder: Path, source: str, paradigm: str, model: str = "gcn") -> Experiment:
    path = folder / "experiment.toml"
    path.write_text(TOML.format(source=source, paradigm=paradigm, model=model))
    return load(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Experiment, Result]:
    """Of a graph whose clients have 200 nodes each, two groups, mostly linked among themselves."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, 600)
    near = generator.random((600, 600)) < np.where(y[:, None] == y, 0.02, 0.002)
    folder = tmp_path_factory.mktemp("subgraphs")
    x = generator.normal(size=(600, 4)).astype(np.float32)
    np.savez(folder / "nodes.npz", x=x, y=y, edges=np.argwhere(np.triu(near, 1)))
    told = experiment(folder, str(folder / "nodes.npz"), "nodes")
    return told, umbel.simulate(told, out=folder / "run")


def test_a_part_of_each_clients_graph_is_shown(run):
    told, result = run
    found, shards = result.subgraphs, make_shards(told)
    assert list(found.parts) == ["client-0", "client-1", "client-2"]
    assert (found.of, found.classes, found.left_out) == ("nodes", ("0", "1"), ())
    for index, part in enumerate(found.parts.values()):
        own = shards.shard(index).arrays
        assert (part.examples, part.links) == (200, len(own["edges"]))
        assert part.nodes.tolist() == [150] and 0 < len(part.edges) < part.links
        assert set(part.y.tolist()) == {0, 1}
        ends = part.y[part.edges]
        same = sum(one == other for one, other in ends.tolist()) / len(ends)
        assert found.homophily(f"client-{index}") == pytest.approx(same) and same > 0.8


def test_it_changes_no_bit_is_asked_once_and_is_the_same_in_two_processes(run, tmp_path):
    told, result = run
    sections = told.model_dump(exclude_unset=True)
    off = umbel.simulate(Experiment(**sections | {"evaluation": {}}), out=tmp_path / "off")
    assert off.sha256 == result.sha256 and off.subgraphs is None
    assert not (tmp_path / "off" / "subgraphs.json").exists()
    umbel.simulate(Experiment(**sections | {"simulation": {"workers": 2}}), out=tmp_path / "two")
    path = tmp_path / "two" / "subgraphs.json"
    written = path.read_text()
    assert written == (result.folder / "subgraphs.json").read_text()
    path.write_text(json.dumps({**json.loads(written), "mark": 1}))
    umbel.simulate(told, resume=tmp_path / "two")
    assert '"mark": 1' in path.read_text()
    path.unlink()
    umbel.simulate(told, resume=tmp_path / "two")
    assert path.read_text() == written


@pytest.mark.parametrize(
    ("paradigm", "source", "model"),
    [
        ("graphs", "their_graphs:shapes", "gin"),
        ("nodes", "their_graphs:heights", "gcn"),
        ("links", "their_graphs:heights", "gcn"),
    ],
)
def test_of_sets_of_graphs_and_of_numbers(paradigm, source, model, tmp_path):
    result = umbel.simulate(experiment(tmp_path, source, paradigm, model), out=tmp_path / "run")
    found = result.subgraphs
    assert len(found.parts) == 3
    assert all(found.homophily(client) is None for client in found.parts)
    for part in found.parts.values():
        if paradigm == "graphs":
            assert found.of == "graphs" and len(part.nodes) == 9 and part.examples == 40
            assert set(part.y.tolist()) <= {0, 1}
        else:
            assert found.of == "nodes" and set(part.y.tolist()) == {-1} and not found.classes


@pytest.mark.parametrize(("paradigm", "model"), [("supervised", "cnn"), ("neighbour-graph", "gcn")])
def test_what_has_no_graph_is_refused_before_anything_starts(umbel, tmp_path, paradigm, model):
    text = TOML.format(source="digits", paradigm=paradigm, model=model).replace("hidden = 4", "")
    (tmp_path / "exp.toml").write_text(text)
    code, _, said = umbel("simulate", "exp.toml", "--out", "run")
    fault = f"exp.toml: evaluation.subgraphs: {paradigm} takes no graphs; leave it out"
    assert code == 2 and [line.endswith(fault) for line in said.splitlines()] == [True]
    assert not (tmp_path / "run").exists()


def test_a_damaged_file_is_told(run, tmp_path):
    told = json.loads((run[1].folder / "subgraphs.json").read_text())
    (tmp_path / "experiment.toml").write_text("")
    row = told["clients"][0]
    for harm in ({"edges": [[0, 150]]}, {"codes": [2] * 150}, {"nodes": [3]}, {"codes": [0]}):
        (tmp_path / "subgraphs.json").write_text(json.dumps(told | {"clients": [row | harm]}))
        with pytest.raises(UmbelError, match=r"subgraphs.json: is damaged \(.*; remove it"):
            _ = Result.open(tmp_path).subgraphs


def test_the_report_draws_it(run):
    page = report_page(run[1].folder)
    assert "Parts of the clients&#39; graphs" in page and "150 of 200 nodes" in page
