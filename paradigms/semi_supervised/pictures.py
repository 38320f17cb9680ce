"""Images, changed a batch at a time without leaving tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

GEOMETRIC, COLOURED = 5, 5
"""How many kinds of change there are: turn, shear in two ways, shift in two ways; and brightness,
contrast, fewer levels, the light ones turned dark, all turned dark."""

TURN, SHEAR, SHIFT = math.pi / 6, 0.3, 0.3
"""The most of each, in radians and in shares of the side."""


@dataclass(frozen=True)
class Pictures:
    """Images (n, C, H, W) in [0, 1]. Weak: shifted, and mirrored if asked for. Strong: besides,
    some changes of shape and colour, drawn for each image, and a square of it made grey.

    Of a client whose images have other values no colour is changed, for black and white are not
    known of them; the square has their mean.

    Paper: Cubuk et al. 2020, RandAugment, arXiv 1909.13719; DeVries and Taylor 2017, Cutout,
    arXiv 1708.04552; as in Sohn et al. 2020, FixMatch, arXiv 2001.07685, section 2.3.

    Args:
        shift: the most that an image is shifted, a share of its side, in [0, 1).
        flip: whether half of the images are mirrored; not for digits or letters.
        operations: how many changes the strong way makes, >= 0.
        colours: whether some of them may be of colour.
        cutout: the most of the side that the hidden square has, in [0, 1].
    """

    shift: float = 0.125
    flip: bool = False
    operations: int = 2
    colours: bool = True
    cutout: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1:
            raise ValueError(f"shift: {self.shift:g} is not in [0, 1)")
        if self.operations < 0:
            raise ValueError(f"operations: {self.operations} is less than 0")
        if not 0 <= self.cutout <= 1:
            raise ValueError(f"cutout: {self.cutout:g} is not in [0, 1]")

    def fitted(self, inputs: Tensor) -> Pictures | _OtherValues:
        if not len(inputs):
            return self
        least, most = inputs.aminmax()
        if least >= 0 and most <= 1:
            return self
        return _OtherValues(replace(self, colours=False), float(inputs.mean()))

    def weak(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return _warped(inputs, self._moved(len(inputs), generator))

    def strong(self, inputs: Tensor, generator: torch.Generator, grey: float = 0.5) -> Tensor:
        count = len(inputs)
        way = self._moved(count, generator)
        kinds = GEOMETRIC + COLOURED if self.colours else GEOMETRIC
        for _ in range(self.operations):
            kind = torch.randint(kinds, (count,), generator=generator)
            level = torch.rand(count, generator=generator) * 2 - 1
            way = way @ _turned(kind, level)
            if self.colours:
                inputs = _recoloured(inputs, kind - GEOMETRIC, level)
        return _warped(inputs, way).masked_fill(self._hidden(inputs, generator), grey)

    def _moved(self, count: int, generator: torch.Generator) -> Tensor:
        """A weak change of place for each image, (n, 3, 3)."""
        way = torch.eye(3).repeat(count, 1, 1)
        draws = torch.rand(count, 3, generator=generator)
        # A side is 2 long where places are told.
        way[:, 0, 2] = (draws[:, 0] * 2 - 1) * 2 * self.shift
        way[:, 1, 2] = (draws[:, 1] * 2 - 1) * 2 * self.shift
        if self.flip:
            way[:, 0, 0] = torch.where(draws[:, 2] < 0.5, -1.0, 1.0)
        return way

    def _hidden(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """What of each image is hidden, (n, 1, H, W)."""
        count, _, height, width = images.shape
        draws = torch.rand(count, 3, 1, generator=generator)
        half = draws[:, 0] * self.cutout / 2
        row = (torch.arange(height) + 0.5) / height
        column = (torch.arange(width) + 0.5) / width
        inside_row = (row - draws[:, 1]).abs() < half
        inside_column = (column - draws[:, 2]).abs() < half
        return (inside_row.unsqueeze(2) & inside_column.unsqueeze(1)).unsqueeze(1)


@dataclass(frozen=True)
class _OtherValues:
    """Those of `pictures`, with what the hidden square is made."""

    pictures: Pictures
    grey: float

    def weak(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return self.pictures.weak(inputs, generator)

    def strong(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return self.pictures.strong(inputs, generator, self.grey)


def _warped(images: Tensor, way: Tensor) -> Tensor:
    grid = affine_grid(way[:, :2], list(images.shape), align_corners=False)
    return grid_sample(
        images, grid.to(images.dtype), padding_mode="reflection", align_corners=False
    )


def _turned(kind: Tensor, level: Tensor) -> Tensor:
    """The change of place of each image, (n, 3, 3); none for a change of colour."""
    way = torch.eye(3).repeat(len(kind), 1, 1)
    angle = torch.where(kind == 0, level * TURN, 0.0)
    way[:, 0, 0] = way[:, 1, 1] = angle.cos()
    way[:, 0, 1] = torch.where(kind == 1, level * SHEAR, -angle.sin())
    way[:, 1, 0] = torch.where(kind == 2, level * SHEAR, angle.sin())
    way[:, 0, 2] = torch.where(kind == 3, level * 2 * SHIFT, 0.0)
    way[:, 1, 2] = torch.where(kind == 4, level * 2 * SHIFT, 0.0)
    return way


def _recoloured(images: Tensor, kind: Tensor, level: Tensor) -> Tensor:
    """Each image by its kind of change of colour; none for a negative kind."""
    kind, level = kind.view(-1, 1, 1, 1), level.view(-1, 1, 1, 1)
    grey = images.mean(dim=(1, 2, 3), keepdim=True)
    levels = (4 + 4 * (1 - level.abs())).round()  # 4 to 8 of them
    for number, changed in enumerate(
        (
            images * (1 + 0.9 * level),
            grey + (images - grey) * (1 + 0.9 * level),
            (images * (levels - 1)).round() / (levels - 1),
            torch.where(images >= level.abs(), 1 - images, images),
            1 - images,
        )
    ):
        images = torch.where(kind == number, changed, images)
    return images.clamp(0, 1)
