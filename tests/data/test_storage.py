from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from umbel.data import Dataset, load_dataset, make_shards, read_shard, write_shards
from umbel.errors import BadInput
from umbel.experiment import Experiment

MakeExperiment = Callable[..., Experiment]


@pytest.fixture
def written(tmp_path: Path, make_experiment: MakeExperiment) -> Path:
    source = make_shards(make_experiment("dirichlet", source="digits", clients=4, labelled=0.5))
    write_shards(source, tmp_path / "shards")
    return tmp_path / "shards"


def test_round_trip_to_the_same_bytes(written: Path, make_experiment: MakeExperiment) -> None:
    source = make_shards(make_experiment("dirichlet", source="digits", clients=4, labelled=0.5))
    assert sorted(path.name for path in written.iterdir()) == [f"client-{i}" for i in range(4)]
    for index in range(4):
        made, read = source.shard(index), read_shard(written / f"client-{index}")
        assert read.client == made.client and read.schema == made.schema
        assert read.arrays.keys() == made.arrays.keys()
        for name, array in made.arrays.items():
            assert read.arrays[name].dtype == array.dtype
            assert read.arrays[name].tobytes() == array.tobytes()


def test_what_a_person_finds_in_the_folder(written: Path) -> None:
    about = json.loads((written / "client-1" / "shard.json").read_text())
    shard = read_shard(written / "client-1")
    assert about["client"] == "client-1" and about["examples"] == len(shard)
    assert sum(about["labels"].values()) + about["unlabelled"] == len(shard)
    assert sorted(path.name for path in (written / "client-1").iterdir()) == [
        "schema.json",
        "shard.json",
        "truth.npy",
        "x.npy",
        "y.npy",
    ]


def test_the_clients_name_can_be_given(written: Path) -> None:
    assert read_shard(written / "client-1", client="ward 7").client == "ward 7"


def test_a_written_shard_is_a_data_set_too(written: Path) -> None:
    dataset = load_dataset(str(written / "client-2"))
    assert dataset.name == "client-2" and dataset.schema.shape == (8, 8)


def test_a_full_folder_is_refused_and_left_alone(
    written: Path, blobs: Dataset, make_experiment: MakeExperiment
) -> None:
    before = sorted(written.rglob("*"))
    with pytest.raises(BadInput, match="is not empty"):
        write_shards(make_shards(make_experiment(clients=2), blobs), written)
    assert sorted(written.rglob("*")) == before
    with pytest.raises(BadInput, match="is a file"):
        write_shards(make_shards(make_experiment(), blobs), written / "client-0" / "x.npy")


def test_nothing_is_left_of_a_write_that_fails(
    tmp_path: Path, blobs: Dataset, make_experiment: MakeExperiment
) -> None:
    class Failing:
        schema = blobs.schema
        good = make_shards(make_experiment(clients=3), blobs)

        def __len__(self) -> int:
            return 3

        def name(self, index: int) -> str:
            return self.good.name(index)

        def shard(self, index: int) -> object:
            if index == 2:
                raise RuntimeError("disk")
            return self.good.shard(index)

    with pytest.raises(RuntimeError, match="disk"):
        write_shards(Failing(), tmp_path / "shards")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_sites_own_file_is_a_shard(tmp_path: Path) -> None:
    (tmp_path / "ward-7.csv").write_text("age,sick\n70,yes\n40,no\n")
    shard = read_shard(tmp_path / "ward-7.csv", label="sick", classes=["no", "unsure", "yes"])
    assert shard.client == "ward-7"
    assert shard.arrays["y"].tolist() == [2, 0]
    assert shard.schema.features == ("age",) and shard.schema.classes == ("no", "unsure", "yes")


def test_a_path_stays_a_path_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "a.csv").write_text("f,label\n1,x\n2,y\n")
    monkeypatch.chdir(tmp_path)
    assert len(read_shard("digits")) == 2


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("schema.json", "{}", "not a shard schema"),
        ("shard.json", "[", "not the description of a shard"),
        ("shard.json", '{"format": 99}', "format 99; this umbel reads 1"),
        ("x.npy", "rubbish", r"x\.npy: cannot be read"),
    ],
)
def test_a_damaged_shard_is_named(written: Path, file: str, content: str, message: str) -> None:
    (written / "client-0" / file).write_text(content)
    with pytest.raises(BadInput, match=message) as caught:
        read_shard(written / "client-0")
    assert str(written / "client-0" / file) in str(caught.value)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("y", lambda y: np.where(y == 0, 10, y), r"row \d+: label 10 is outside the 10 classes"),
        ("y", lambda y: y[:-1], "does not hold"),
        ("y", lambda y: y.astype(np.int32), "labels are int64"),
        ("x", lambda x: x.astype(np.float32), "float32"),
        ("x", lambda x: x[:, :4], r"\(4, 8\)"),
    ],
)
def test_arrays_that_do_not_fit_the_schema(
    written: Path, name: str, change: object, message: str
) -> None:
    path = written / "client-0" / f"{name}.npy"
    np.save(path, change(np.load(path)))  # type: ignore[operator]
    with pytest.raises(BadInput, match=message):
        read_shard(written / "client-0")


def test_a_shard_without_its_array(written: Path) -> None:
    (written / "client-0" / "x.npy").unlink()
    with pytest.raises(BadInput, match=r"x\.npy: cannot be read"):
        read_shard(written / "client-0")


def test_a_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file or folder"):
        read_shard(tmp_path / "client-9")
