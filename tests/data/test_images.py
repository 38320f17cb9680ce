from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umbel.data import load_dataset
from umbel.errors import BadInput


def picture(path: Path, mode: str = "L", size: tuple[int, int] = (6, 4), value: int = 7) -> Path:
    """An even picture of one value in every channel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if len(mode) == 1 else (value,) * len(mode)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "p" / "cat" / "1.png", value=1)
    picture(tmp_path / "p" / "cat" / "0.png", value=0)
    picture(tmp_path / "p" / "dog" / "deep" / "2.png", value=2)
    picture(tmp_path / "p" / "unlabelled" / "3.png", value=3)
    return tmp_path / "p"


def test_grey_pictures_in_the_order_of_their_names(folder: Path) -> None:
    (folder / ".hidden").mkdir()
    (folder / "cat" / "notes.txt").write_text("not a picture")
    dataset = load_dataset(str(folder))
    assert dataset.name == "p"
    assert dataset.schema.shape == (4, 6) and dataset.schema.dtype == "uint8"
    assert dataset.schema.classes == ("cat", "dog")
    assert dataset.train["x"][:, 0, 0].tolist() == [0, 1, 2, 3]
    assert dataset.train["y"].tolist() == [0, 0, 1, -1]


@pytest.mark.parametrize("name", ["unlabeled", "Unlabelled", "UNLABELED"])
def test_no_label_by_either_spelling(folder: Path, name: str) -> None:
    """Beside the other one, too."""
    picture(folder / name / "4.png", value=4)
    dataset = load_dataset(str(folder))
    assert dataset.schema.classes == ("cat", "dog")
    none = dataset.train["x"][dataset.train["y"] == -1, 0, 0]
    assert sorted(none.tolist()) == [3, 4]


def test_train_and_test_parts(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "a" / "1.png", "RGB")
    picture(tmp_path / "test" / "b" / "1.png", "RGB")
    dataset = load_dataset(str(tmp_path))
    assert dataset.schema.shape == (4, 6, 3) and dataset.schema.classes == ("a", "b")
    assert dataset.test is not None
    assert dataset.test["y"].tolist() == [1]


def test_size_and_mode_make_a_mixture_alike(folder: Path) -> None:
    picture(folder / "dog" / "big.png", "RGB", (60, 40), 9)
    dataset = load_dataset(f"{folder}?size=8x5&mode=grey")
    assert dataset.schema.shape == (5, 8)
    assert load_dataset(f"{folder}?size=3&mode=colour").schema.shape == (3, 3, 3)


def test_transparency_is_laid_on_white_and_palettes_become_colour(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    (tmp_path / "a").mkdir()
    clear.save(tmp_path / "a" / "1.png")
    Image.new("RGB", (2, 2), (255, 0, 0)).convert("P").save(tmp_path / "a" / "2.png")
    x = load_dataset(str(tmp_path)).train["x"]
    assert x[0, 0, 0].tolist() == [255, 255, 255]
    assert x[1, 0, 0].tolist() == [255, 0, 0]


def refused(source: str, *mentions: str) -> None:
    with pytest.raises(BadInput) as caught:
        load_dataset(source)
    message = str(caught.value)
    assert "\n" not in message
    for mention in mentions:
        assert mention in message


def test_an_image_that_cannot_be_read_is_named(folder: Path) -> None:
    broken = folder / "dog" / "broken.png"
    noise = np.random.default_rng(0).integers(256, size=(4, 6)).astype(np.uint8)
    Image.fromarray(noise).save(broken)
    broken.write_bytes(broken.read_bytes()[:60])
    refused(str(folder), str(broken), "cannot be read as an image")
    broken.write_text("hello")
    refused(str(folder), str(broken), "cannot be read as an image")


def test_mixtures_are_refused_by_name(folder: Path) -> None:
    odd = picture(folder / "dog" / "odd.png", size=(5, 5))
    refused(str(folder), str(odd), "grey 5x5", "grey 6x4", "?size=")
    picture(odd, "RGB")
    refused(str(folder), str(odd), "colour 6x4", "?mode=grey")


def test_deep_pixels_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((3, 3), np.uint16)).save(tmp_path / "a" / "deep.png")
    refused(str(tmp_path), "deep.png", "8 bits", "NPZ")


def test_empty_folders(tmp_path: Path, folder: Path) -> None:
    (folder / "bird").mkdir()
    refused(str(folder), str(folder / "bird"), "holds no image")
    picture(tmp_path / "flat" / "1.png")
    refused(str(tmp_path / "flat"), "images must lie in one subfolder a class")


@pytest.mark.parametrize("query", ["mode=gray", "size=big", "size=0", "size=1x2x3", "group=a"])
def test_bad_options(folder: Path, query: str) -> None:
    refused(f"{folder}?{query}", query.partition("=")[0])
