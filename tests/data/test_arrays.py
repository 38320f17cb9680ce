from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from umbel.data import load_dataset
from umbel.errors import BadInput

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)


def npz(folder: Path, **arrays: object) -> str:
    np.savez(folder / "a.npz", **arrays)  # type: ignore[arg-type]
    return str(folder / "a.npz")


def idx(path: Path, array: np.ndarray) -> None:
    """Write `array` as the IDX files of MNIST are written."""
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    raw = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def test_images_keep_their_bytes(tmp_path: Path) -> None:
    dataset = load_dataset(npz(tmp_path, x=IMAGES, y=np.array([1, 0, -1])))
    assert dataset.train["x"].tobytes() == IMAGES.tobytes()
    assert dataset.schema.shape == (4, 5)
    assert dataset.train["y"].tolist() == [1, 0, -1]


def test_keras_names_class_names_and_groups(tmp_path: Path) -> None:
    dataset = load_dataset(
        npz(
            tmp_path,
            x_train=IMAGES,
            y_train=np.array([2, 0, -1]),
            x_test=IMAGES[:1],
            y_test=np.array([1]),
            classes=np.array(["z", "b", "a"]),
            groups=np.array([5, 5, 6]),
        )
    )
    assert dataset.schema.classes == ("z", "b", "a")
    assert dataset.train["y"].tolist() == [2, 0, -1]
    assert dataset.test is not None
    assert dataset.test["y"].tolist() == [1]
    assert dataset.groups is not None
    assert dataset.groups.tolist() == ["5", "5", "6"]


def test_tables_become_float32_and_channels_come_last(tmp_path: Path) -> None:
    y = np.array(["b", "a"])
    assert load_dataset(npz(tmp_path, x=np.ones((2, 3), int), y=y)).schema.dtype == "float32"
    first = np.random.default_rng(0).random((2, 3, 8, 9))
    dataset = load_dataset(npz(tmp_path, x=first, y=y))
    assert dataset.schema.shape == (8, 9, 3) and dataset.schema.dtype == "float32"
    assert np.array_equal(dataset.train["x"][1, :, :, 2], first[1, 2].astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "mentions"),
    [
        ({"x": IMAGES}, ("no array 'y'", "found: x")),
        ({"x": IMAGES, "y": np.zeros(2, int)}, ("3 examples but 2 labels",)),
        ({"x": IMAGES, "y": np.zeros((3, 2), int)}, ("y has shape (3, 2)",)),
        ({"x": IMAGES[0, 0], "y": np.zeros(5, int)}, ("x has shape (5,)",)),
        ({"x": IMAGES.astype(int), "y": np.zeros(3, int)}, ("int64 images",)),
        ({"x": IMAGES.astype(float), "y": np.zeros(3, int)}, ("[0, 1]",)),
        ({"x": np.array([["a"]]), "y": np.zeros(1, int)}, ("not numbers",)),
        ({"x": np.array([[1], [np.inf]]), "y": np.zeros(2, int)}, ("row 2", "not finite")),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0, int)}, ("holds no examples",)),
        ({"x": np.zeros((2, 7, 8, 9)), "y": np.zeros(2, int)}, ("1, 3 or 4 channels",)),
        (
            {"x": IMAGES, "y": np.array([0, 2, 1]), "classes": np.array(["a", "b"])},
            ("row 2", "label 2", "2 classes"),
        ),
        ({"x": IMAGES, "y": np.array([0, 0.5, 1])}, ("row 2", "label 0.5")),
        ({"x": IMAGES, "y": np.array([1j, 1, 2])}, ("complex128",)),
        ({"x": IMAGES, "y": np.array([{}, 1, 2], object)}, ("plain arrays",)),
    ],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, object], mentions: tuple[str, ...]) -> None:
    path = npz(tmp_path, **arrays)
    with pytest.raises(BadInput) as caught:
        load_dataset(path)
    for mention in (path, *mentions):
        assert mention in str(caught.value)
    assert len(caught.value.faults) == 1


def test_not_an_npz(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("hello")
    with pytest.raises(BadInput, match=r"a\.npz: not a readable NPZ"):
        load_dataset(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_folder(tmp_path: Path, suffix: str) -> None:
    for prefix, count in (("train", 3), ("t10k", 2)):
        idx(tmp_path / f"{prefix}-images-idx3-ubyte{suffix}", IMAGES[:count])
        idx(tmp_path / f"{prefix}-labels-idx1-ubyte{suffix}", np.arange(count))
    dataset = load_dataset(str(tmp_path))
    assert dataset.train["x"].tobytes() == IMAGES.tobytes()
    assert dataset.schema.classes == ("0", "1", "2")
    assert dataset.test is not None
    assert dataset.test["y"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"hello", "not an IDX"), (b"\0\0\x08\x03\0\0\0\x09", "cut short|not a readable IDX")],
)
def test_bad_idx(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(BadInput, match=message):
        load_dataset(str(tmp_path))


def test_an_idx_folder_with_a_file_missing(tmp_path: Path) -> None:
    idx(tmp_path / "train-images-idx3-ubyte", IMAGES)
    with pytest.raises(BadInput, match="no train-labels-idx1-ubyte"):
        load_dataset(str(tmp_path))
