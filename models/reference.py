"""Small reference models, each built to fit a shard's schema.

Inputs are float32: images (n, C, H, W) in [0, 1], tables (n, F); outputs are class scores
(n, classes). Every model is a `Classifier`: a body that makes features and a linear head,
so that a paradigm can train, share or compare either alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.functional import interpolate

from ..data.texts import TEXT
from ..errors import BadInput
from ..schema import Schema
from .pooling import HalvingMax

_SMALLEST_SIDE = 4


class ToSide(nn.Module):
    """Brings images (n, C, H, W) to (n, C, side, side).

    >>> ToSide(4)(torch.zeros(2, 1, 8, 6)).shape
    torch.Size([2, 1, 4, 4])
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self._size = (side, side)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[-2:] == self._size:
            return images
        return interpolate(images, self._size, mode="bilinear", antialias=True)


class Classifier(nn.Module):
    """Features (n, d) from `body`, class scores (n, classes) from the linear `head`."""

    def __init__(self, body: nn.Module, features: int, schema: Schema) -> None:
        super().__init__()
        if schema.dtype == TEXT:
            raise BadInput(
                "model: the examples are texts; give a model that reads them, such as "
                "transformers:FOLDER"
            )
        if not schema.classes:
            raise BadInput(
                "model: the data has no labels, so a classifier has nothing to tell apart; "
                "label some examples"
            )
        self.body = body
        self.head = nn.Linear(features, len(schema.classes))

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the head looks at, (n, d)."""
        made: torch.Tensor = self.body(inputs)
        return made

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.features(inputs))
        return scores


def logistic(schema: Schema) -> nn.Module:
    """Multinomial logistic regression: one linear layer.

    >>> schema = Schema("classification", (8, 8), "uint8", classes=("0", "1"))
    >>> logistic(schema)(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 2])
    """
    return Classifier(nn.Flatten(), math.prod(schema.shape), schema)


def mlp(
    schema: Schema,
    *,
    hidden: Sequence[int] = (128,),
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> nn.Module:
    """A multilayer perceptron with ReLU; `hidden` lists the widths of its hidden layers.

    `batch_norm` normalises every hidden layer's sums over the batch, which then needs at least
    two examples (Ioffe and Szegedy 2015, arXiv 1502.03167).
    """
    if any(width < 1 for width in hidden):
        raise BadInput(f"model.hidden: {list(hidden)}: every width must be at least 1")
    if not 0 <= dropout < 1:
        raise BadInput(f"model.dropout: {dropout:g} is not in [0, 1)")
    width = math.prod(schema.shape)
    layers: list[nn.Module] = [nn.Flatten()]
    for size in hidden:
        layers.append(nn.Linear(width, size))
        if batch_norm:
            layers.append(nn.BatchNorm1d(size))
        layers.append(nn.ReLU())
        if dropout > 0:
            layers.append(nn.Dropout(dropout))
        width = size
    return Classifier(nn.Sequential(*layers), width, schema)


def two_nn(schema: Schema) -> nn.Module:
    """The "2NN": two hidden layers of 200 (199,210 parameters at 28x28 and 10 classes).

    Paper: McMahan et al., 2017, arXiv 1602.05629

    >>> schema = Schema("classification", (28, 28), "uint8", classes=tuple("0123456789"))
    >>> sum(tensor.numel() for tensor in two_nn(schema).parameters())
    199210
    """
    return mlp(schema, hidden=(200, 200))


def cnn(
    schema: Schema,
    *,
    channels: Sequence[int] = (32, 64),
    hidden: int = 512,
    batch_norm: bool = False,
    group_norm: int | None = None,
    size: int | None = None,
) -> nn.Module:
    """Two 5x5 convolutions with 2x2 pooling and a dense layer (1,663,370 parameters at 28x28).

    Paper: McMahan et al., 2017, arXiv 1602.05629

    Takes images of any size from 4x4, grey or colour; `size` is the side that they are brought to,
    so that one model fits data of several sizes. `batch_norm` normalises what each convolution
    makes, by channel (Ioffe and Szegedy 2015, arXiv 1502.03167); `group_norm` does so in each image
    by itself, in so many groups of channels (Wu and He 2018, arXiv 1803.08494), so that there are
    no running means.

    >>> schema = Schema("classification", (28, 28), "uint8", classes=tuple("0123456789"))
    >>> sum(tensor.numel() for tensor in cnn(schema).parameters())
    1663370
    """
    height, width = _image(schema, "cnn", _SMALLEST_SIDE, size)
    if len(channels) != 2 or min(*channels, hidden) < 1:
        raise BadInput(
            f"model: cnn: channels = {list(channels)}, hidden = {hidden}; give two channel "
            "counts, and nothing below 1"
        )
    norm = _normalisation(channels, batch_norm, group_norm)
    colours = schema.shape[2] if len(schema.shape) == 3 else 1
    first, second = channels

    def convolved(before: int, after: int) -> list[nn.Module]:
        # ReLU and pooling change places without changing a bit; pooled first, there is less to do.
        convolution = nn.Conv2d(before, after, kernel_size=5, padding=2)
        return [convolution, *norm(after), HalvingMax(), nn.ReLU()]

    body = nn.Sequential(
        *_resized(size),
        *convolved(colours, first),
        *convolved(first, second),
        nn.Flatten(),
        nn.Linear(second * (height // 4) * (width // 4), hidden),
        nn.ReLU(),
    )
    return Classifier(body, hidden, schema)


def _normalisation(
    channels: Sequence[int], batch_norm: bool, group_norm: int | None
) -> Callable[[int], list[nn.Module]]:
    """What normalises so many channels."""
    if group_norm is None:
        return lambda count: [nn.BatchNorm2d(count)] if batch_norm else []
    if batch_norm:
        raise BadInput("model: cnn: give batch_norm or group_norm, not both")
    if group_norm < 1 or any(count % group_norm for count in channels):
        raise BadInput(
            f"model: cnn: group_norm = {group_norm} does not divide channels = {list(channels)}; "
            "give a number of groups that divides both"
        )
    return lambda count: [nn.GroupNorm(group_norm, count)]


def lenet(schema: Schema, *, size: int | None = None) -> nn.Module:
    """LeNet-5 with ReLU and max pooling: two 5x5 convolutions, two dense layers of 120 and 84.

    Paper: LeCun et al., "Gradient-based learning applied to document recognition", 1998, as the
    small CNN of Li et al., 2022, arXiv 2102.02079 (44,426 parameters at 28x28).

    Takes images of any size from 16x16, grey or colour; `size` is the side that they are brought
    to, so that one model fits data of several sizes.

    >>> schema = Schema("classification", (28, 28), "uint8", classes=tuple("0123456789"))
    >>> sum(tensor.numel() for tensor in lenet(schema).parameters())
    44426
    """
    height, width = _image(schema, "lenet", 16, size)
    colours = schema.shape[2] if len(schema.shape) == 3 else 1
    body = nn.Sequential(
        *_resized(size),
        nn.Conv2d(colours, 6, kernel_size=5),
        HalvingMax(),
        nn.ReLU(),
        nn.Conv2d(6, 16, kernel_size=5),
        HalvingMax(),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2), 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
    )
    return Classifier(body, 84, schema)


def _resized(size: int | None) -> list[nn.Module]:
    return [] if size is None else [ToSide(size)]


def _image(schema: Schema, model: str, least: int, size: int | None) -> tuple[int, int]:
    """An image's height and width, once it is of the `size`; raises BadInput for anything else, or
    a smaller image."""
    if len(schema.shape) not in (2, 3):
        raise BadInput(
            f"model: {model} takes images, but an example has shape {schema.shape}; "
            "use mlp or logistic for tables"
        )
    height, width = schema.shape[:2] if size is None else (size, size)
    if min(height, width) < least:
        raise BadInput(
            f"model: {model} takes images from {least}x{least}, but these are "
            f"{width}x{height}; enlarge them (model.size) or use mlp"
        )
    return height, width
