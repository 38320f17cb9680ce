"""The bundled images: digits, optdigits, MNIST, Fashion-MNIST and ELPV, each from its carrier.

The 8x8 digits are published with grey levels 0 to 16. They are stored as uint8 scaled to
0..255 like every other image, so that one rule (divide by 255) makes model inputs.
"""

from __future__ import annotations

import functools
import json
import zipfile
from typing import Any

import numpy as np

from ..errors import BadInput
from .arrays import read_idx_folder
from .assembly import Part, assemble
from .carriers import locate
from .images import ImageRules, stack_images
from .shard import Dataset

DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def digits() -> Dataset:
    """1,797 handwritten digits, grey 8x8, no test part (CC BY 4.0).

    Paper: Alpaydin and Kaynak, "Cascading classifiers", Kybernetika 1998.
    """
    pixels, labels = _digit_rows(str(locate("digits")))
    return assemble("digits", _digit_part(pixels, labels, "digits"), classes=DIGITS)


def optdigits() -> Dataset:
    """5,620 handwritten digits, grey 8x8, official split 3,823 / 1,797 (CC BY 4.0).

    The carrier holds the two parts mixed: the rows that `digits` also has are the official
    test part.

    Paper: Alpaydin and Kaynak, "Cascading classifiers", Kybernetika 1998.
    """
    pixels, labels = _digit_rows(str(locate("optdigits")))
    test_pixels, test_labels = _digit_rows(str(locate("digits")))
    left = {row.tobytes() for row in np.column_stack([test_pixels, test_labels])}
    rows = np.column_stack([pixels, labels])
    is_test = np.array([row.tobytes() in left for row in rows])
    return assemble(
        "optdigits",
        _digit_part(pixels[~is_test], labels[~is_test], "optdigits"),
        _digit_part(pixels[is_test], labels[is_test], "optdigits test"),
        classes=DIGITS,
    )


def mnist() -> Dataset:
    """MNIST: 60,000 / 10,000 handwritten digits, grey 28x28, official split (CC BY-SA 3.0).

    Paper: LeCun et al., "Gradient-based learning applied to document recognition", 1998.
    """
    path = locate("mnist")
    with zipfile.ZipFile(path) as archive:
        arrays = {
            name: _zarr_array(archive, name)
            for name in ("train_images", "train_labels", "test_images", "test_labels")
        }
    return assemble(
        "mnist",
        Part(arrays["train_images"], arrays["train_labels"].astype(str), str(path)),
        Part(arrays["test_images"], arrays["test_labels"].astype(str), str(path)),
        classes=DIGITS,
    )


def fashion_mnist() -> Dataset:
    """Fashion-MNIST: 60,000 / 10,000 articles of clothing, grey 28x28, official split (MIT).

    Paper: Xiao et al., 2017, arXiv 1708.07747
    """
    return read_idx_folder(locate("fashion-mnist"), classes=CLOTHES)


def elpv(size: int = 224) -> Dataset:
    """2,624 photographs of solar cells, functional or defective, grey, no test part (CC BY-NC-SA).

    A cell's owner is its kind, mono- or polycrystalline. Experts gave each a probability of being
    defective, of 0, 1/3, 2/3 or 1; above a half it counts as so. `size` is the side in pixels.

    Paper: Deitsch et al. 2019, Automatic classification of defective photovoltaic module cells in
    electroluminescence images, arXiv 1807.02894
    """
    from PIL import Image

    folder = locate("elpv")
    rows = [line.split() for line in (folder / "labels.csv").read_text("utf-8").splitlines()]
    named = ((name, folder / name) for name, _, _ in rows)
    opened = ((name, Image.open(path)) for name, path in named)
    x = stack_images(opened, ImageRules(mode="grey", size=(size, size)))
    labels = np.array(["defective" if float(row[1]) > 0.5 else "functional" for row in rows])
    part = Part(x, labels, str(folder), groups=np.array([row[2] for row in rows]))
    return assemble("elpv", part, classes=("functional", "defective"))


@functools.lru_cache(maxsize=2)
def _digit_rows(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 64) of 0..16 and labels (n,), from rows of 65 comma-separated numbers."""
    rows = np.loadtxt(path, delimiter=",", dtype=np.float32).astype(np.int64)
    return rows[:, :64], rows[:, 64]


def _digit_part(pixels: np.ndarray, labels: np.ndarray, where: str) -> Part:
    grey = ((pixels * 255 + 8) // 16).astype(np.uint8).reshape(-1, 8, 8)
    return Part(grey, labels.astype(str), where)


def _zarr_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One uint8 array of a zarr 3 archive, chunked along its first axis, Blosc-compressed."""
    blosc = _blosc()
    about: dict[str, Any] = json.loads(archive.read(f"{name}/zarr.json"))
    shape = tuple(about["shape"])
    chunk = tuple(about["chunk_grid"]["configuration"]["chunk_shape"])
    array = np.empty(shape, np.uint8)
    tail = "/0" * (len(shape) - 1)
    for position, start in enumerate(range(0, shape[0], chunk[0])):
        raw = blosc.decode(archive.read(f"{name}/c/{position}{tail}"))
        rows = array[start : start + chunk[0]]
        rows[:] = np.frombuffer(raw, np.uint8).reshape(chunk)[: len(rows)]
    return array


def _blosc() -> Any:
    try:
        from numcodecs import Blosc
    except ImportError:
        raise BadInput(
            "data.source: mnist is compressed with Blosc and the package numcodecs is not "
            "installed; get both with: umbel data fetch mnist"
        ) from None
    return Blosc()
