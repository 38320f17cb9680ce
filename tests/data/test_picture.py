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
