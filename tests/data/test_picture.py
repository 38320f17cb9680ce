from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umbel.data import Dataset, make_shards, plot_partition
from umbel.data.picture import class_counts
from umbel.errors import BadInput
from umbel.experiment import Experiment
from umbel.schema import Schema

MakeExperiment = Callable[..., Experiment]


def test_counts_add_up(blobs: Dataset, make_experiment: MakeExperiment) -> None:
    source = make_shards(make_experiment(clients=5, labelled=0.5, held_out=0.0), blobs)
    counts = class_counts(source, np.arange(5))
    assert counts.shape == (5, 6)
    assert counts.sum() == 300
    assert counts[:, 5].sum() == 150


@pytest.mark.parametrize("clients", [1, 10, 150])
def test_a_picture_that_can_be_read(
    tmp_path: Path, blobs: Dataset, make_experiment: MakeExperiment, clients: int
) -> None:
    source = make_shards(make_experiment(clients=clients), blobs)
    path = plot_partition(source, tmp_path / "new" / "out.png")
    with Image.open(path) as image:
        assert image.width > image.height > 400
        assert len(image.convert("RGB").getcolors(1 << 20)) > 5
    assert [entry.name for entry in path.parent.iterdir()] == ["out.png"]


def test_a_million_clients_are_sampled(
    tmp_path: Path, blobs: Dataset, make_experiment: MakeExperiment
) -> None:
    experiment = make_experiment("bootstrap", clients=10**6, parameters={"examples": 3})
    plot_partition(make_shards(experiment, blobs), tmp_path / "out.svg")
    assert "200 of 1,000,000 clients" in (tmp_path / "out.svg").read_text()


def test_many_classes(
    tmp_path: Path, make_blobs: Callable[..., Dataset], make_experiment: MakeExperiment
) -> None:
    source = make_shards(make_experiment(clients=3), make_blobs(np.arange(90) % 45, classes=45))
    assert plot_partition(source, tmp_path / "out.png").exists()


def test_an_unknown_type_leaves_nothing(
    tmp_path: Path, blobs: Dataset, make_experiment: MakeExperiment
) -> None:
    with pytest.raises(BadInput, match=r"out\.docx: cannot write a picture"):
        plot_partition(make_shards(make_experiment(clients=2), blobs), tmp_path / "out.docx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", ["node", "graph"])
def test_graphs_are_drawn_below(tmp_path: Path, make_experiment: MakeExperiment, task: str) -> None:
    pytest.importorskip("networkx")
    pairs = np.stack([np.arange(29), np.arange(1, 30)], axis=1)
    arrays = {"x": np.zeros((30, 1), np.float32), "y": np.arange(30) % 3, "edges": pairs}
    if task == "graph":
        one = np.array([[0, 1]])
        arrays |= {"x": np.zeros((60, 1), np.float32), "edges": np.repeat(one, 30, axis=0)}
        arrays |= {"nodes": np.full(30, 2), "links": np.ones(30, np.int64)}
    schema = Schema(f"{task}-classification", (1,), "float32", ("a", "b", "c"))
    source = make_shards(make_experiment(clients=7), Dataset("paths", schema, arrays))
    sizes = []
    for kind in ("graphs", "examples"):
        if kind == "examples":
            plain = {"x": np.zeros((30, 1), np.float32), "y": arrays["y"]}
            source = make_shards(make_experiment(clients=7), Dataset("rows", schema, plain))
        with Image.open(plot_partition(source, tmp_path / f"{kind}.png")) as image:
            sizes.append(image.size)
    assert sizes[0][0] == sizes[1][0] and sizes[0][1] > sizes[1][1] + 800
