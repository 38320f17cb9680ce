"""Folders of images: one subfolder a class, read with Pillow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput
from .assembly import Part
from .sources import Source

if TYPE_CHECKING:
    from PIL import Image

OPTIONS = ("size", "mode")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
UNLABELLED_FOLDERS = frozenset({"unlabelled", "unlabeled"})
"""Images in subfolders of these names, however cased, are examples without a label."""

_MODES = {"grey": "L", "colour": "RGB"}


@dataclass(frozen=True)
class ImageRules:
    """How every image is brought to one form: `mode` is "grey", "colour" or None (as found,
    and all alike); `size` is (width, height) or None (as found, and all alike)."""

    mode: str | None = None
    size: tuple[int, int] | None = None


def image_rules(source: Source) -> ImageRules:
    """The rules in a source's options: `photos?size=32`, `photos?size=64x48&mode=grey`.

    >>> from umbel.data.sources import parse_source
    >>> image_rules(parse_source("photos?size=64x48&mode=grey"))
    ImageRules(mode='grey', size=(64, 48))
    """
    mode, size = source.options.get("mode"), source.options.get("size")
    if mode is not None and mode not in _MODES:
        raise BadInput(f"{source.text}: mode {mode!r} is not one of grey, colour")
    if size is None:
        return ImageRules(mode=mode)
    numbers = size.lower().split("x")
    if len(numbers) > 2 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise BadInput(f"{source.text}: size {size!r} is not pixels like 32 or WIDTHxHEIGHT")
    return ImageRules(mode=mode, size=(int(numbers[0]), int(numbers[-1])))


def read_image_folder(folder: Path, rules: ImageRules) -> Part:
    """Read every image below `folder`: uint8, (n, height, width) if grey, else (..., 3).

    Classes and the images within them come in the order of their names. Palettes become
    colour, transparency is laid on white, and a camera's rotation mark is obeyed. Raises
    BadInput naming the first image that cannot be read or differs from the others.
    """
    files = [
        (file, "" if classed.name.casefold() in UNLABELLED_FOLDERS else classed.name)
        for classed in class_folders(folder)
        for file in _images_in(classed)
    ]
    return Part(
        x=stack_images(((str(file), open_image(file)) for file, _ in files), rules),
        labels=np.array([name for _, name in files], dtype=str),
        where=str(folder),
    )


def class_folders(folder: Path) -> list[Path]:
    """The subfolders, in the order of their names; hidden ones do not count."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def holds_images(folder: Path) -> bool:
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


def open_image(path: Path) -> Image.Image:
    """Open one image and read all of it; raises BadInput with its name."""
    from PIL import Image

    try:
        image = Image.open(path)
        image.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).replace(str(path), "it").replace(repr(str(path)), "it")
        raise BadInput(
            f"{path}: cannot be read as an image ({reason}); replace or remove it"
        ) from None
    return image


def stack_images(images: Iterable[tuple[str, Image.Image]], rules: ImageRules) -> np.ndarray:
    """Named images as one uint8 array; raises BadInput naming the first that differs."""
    rows: list[np.ndarray] = []
    first = ""
    for name, image in images:
        pixels = _pixels(image, rules, name)
        if not rows:
            first = name
        elif pixels.shape != rows[0].shape:
            raise BadInput(
                f"{name}: {_describe(pixels)}, but {first} is {_describe(rows[0])}; make them "
                "alike, or add ?size=PIXELS or ?mode=grey (or colour) to the source"
            )
        rows.append(pixels)
    return np.stack(rows) if rows else np.zeros((0, 0, 0), np.uint8)


def _pixels(image: Image.Image, rules: ImageRules, name: str) -> np.ndarray:
    from PIL import Image, ImageOps

    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
        raise BadInput(
            f"{name}: has pixels of mode {image.mode}, not 8 bits a channel; convert it, or "
            "give the images as an NPZ file"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode in ("LA", "RGBA", "PA") or "transparency" in image.info:
        grey = image.mode == "LA"
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        image = image.convert("L" if grey else "RGB")
    wanted = _MODES[rules.mode] if rules.mode else ("L" if image.mode in ("1", "L") else "RGB")
    image = image.convert(wanted)
    if rules.size is not None and image.size != rules.size:
        image = image.resize(rules.size, Image.Resampling.BILINEAR)
    return np.asarray(image, dtype=np.uint8)


def _describe(pixels: np.ndarray) -> str:
    return f"{'grey' if pixels.ndim == 2 else 'colour'} {pixels.shape[1]}x{pixels.shape[0]}"


def _images_in(folder: Path) -> list[Path]:
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise BadInput(
            f"{folder}: holds no image ({', '.join(SUFFIXES)}); fill or remove the folder"
        )
    return files
