"""Image models of torchvision's as backbones: all but the output layer, which is made anew.

The size of the images, the number of their channels and their normalisation come with the
architecture, as torchvision states them beside its own weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import registry
from ..errors import BadInput
from ..schema import Schema
from .reference import ToSide

Channels = Literal["refuse", "repeat"]

MODULE = "torchvision.models"


@dataclass(frozen=True)
class Form:
    """The images that an architecture takes: their side in pixels, and each channel's mean and
    standard deviation over the images that its own weights were trained on."""

    size: int
    mean: Sequence[float]
    deviation: Sequence[float]


def _flat(output: Any) -> Tensor:
    """Features of what an architecture gives; one with more output layers gives a tuple of them in
    training."""
    features: Tensor = getattr(output, "logits", output)
    return features.flatten(1)


class Backbone(nn.Module):
    """Class scores (n, classes) of images (n, C, H, W) in [0, 1]: `head` over what `body` makes
    of them once they are of its size and normalised.

    Args:
        body: the architecture without its output layer.
        head: a linear layer over the features.
        form: the images that the body takes.
        replaced: what the architecture called the output layer that `head` has taken the place of.
        pooled: makes features (n, d) of what the body gives.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        body: nn.Module,
        head: nn.Linear,
        form: Form,
        *,
        replaced: str = "",
        pooled: Callable[[Any], Tensor] = _flat,
    ) -> None:
        super().__init__()
        self.replaced = replaced
        self.body = body
        self.head = head
        self.form = form
        self._to_side = ToSide(form.size)
        self._pooled = pooled
        # They come with the architecture, and are no part of what is learnt.
        self.register_buffer("mean", torch.tensor(form.mean).view(-1, 1, 1), persistent=False)
        deviation = torch.tensor(form.deviation).view(-1, 1, 1)
        self.register_buffer("deviation", deviation, persistent=False)

    def features(self, inputs: Tensor) -> Tensor:
        """What the head looks at, (n, d)."""
        return self._pooled(self.body(self._prepared(inputs)))

    def _prepared(self, inputs: Tensor) -> Tensor:
        inputs = self._to_side(inputs)
        if inputs.shape[1] != len(self.form.mean):
            inputs = inputs.expand(-1, len(self.form.mean), -1, -1)
        return (inputs - self.mean) / self.deviation

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(inputs))
        return scores


def torchvision_backbone(architecture: str) -> Callable[..., nn.Module]:
    """The factory of one of torchvision's architectures."""

    def build(
        schema: Schema,
        *,
        head: str | None = None,
        size: int | None = None,
        channels: Channels = "refuse",
    ) -> nn.Module:
        make, form = _architecture(architecture)
        if size is not None:
            form = replace(form, size=size)
        check_images(schema, architecture, form, channels)
        return with_new_head(make(), head, form, schema)

    build.__doc__ = f"""torchvision's `{architecture}` with a new output layer.

    Args:
        head: the output layer's name, where it cannot be told.
        size: the side that images are brought to, in pixels; default: the architecture's.
        channels: `repeat` shows a grey image in each of the architecture's channels.
    """
    return build


def output_layer(model: nn.Module, channels: int, size: int) -> str:
    """The name of the linear layer whose output is the model's; raises BadInput if there is none.

    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, 3))
    >>> output_layer(model, channels=3, size=2)
    '3'
    """
    outputs: dict[str, Tensor] = {}
    hooks = []
    for name, layer in linear_layers(model).items():

        def keep(layer: nn.Module, given: Any, output: Tensor, name: str = name) -> None:
            outputs[name] = output

        hooks.append(layer.register_forward_hook(keep))
    training = model.training
    try:
        with torch.no_grad():
            result = model.eval()(torch.zeros(1, channels, size, size))
    except Exception as error:
        raise BadInput(
            f"model.size: the architecture takes no images of {size} pixels: "
            f"{registry.raised(error)}"
        ) from error
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    found = [name for name, output in outputs.items() if output is result]
    if not outputs:
        raise BadInput("model.name: the architecture has no linear layer that could be made anew")
    if not found:
        raise BadInput(
            "model.head: the output layer cannot be told; name it"
            f"{registry.nearest('', list(linear_layers(model)))}"
        )
    return found[0]


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The model's linear layers by name."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}


def with_new_head(model: nn.Module, head: str | None, form: Form, schema: Schema) -> Backbone:
    """A classifier of images with an output layer for other classes; `head` names the one that it
    takes the place of, where that cannot be told."""
    name = head or output_layer(model, len(form.mean), form.size)
    features = _take_out(model, name)
    return Backbone(model, nn.Linear(features, len(schema.classes)), form, replaced=name)


def _take_out(model: nn.Module, name: str) -> int:
    """Put an identity in the place of the output layer; returns how many features it took."""
    layer = linear_layers(model).get(name)
    if layer is None:
        hint = registry.nearest(name, list(linear_layers(model)))
        raise BadInput(f"model.head: there is no linear layer {name!r}{hint}")
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, nn.Identity())
    return layer.in_features


def _architecture(name: str) -> tuple[Callable[[], nn.Module], Form]:
    try:
        from torchvision import models
        from torchvision.transforms._presets import ImageClassification
    except ImportError as error:
        raise BadInput(
            f"model: {MODULE}:{name} needs torchvision: {error}; pip install 'umbel[vision]'"
        ) from error
    known = models.list_models(module=models)
    if name not in known:
        raise BadInput(f"model: torchvision has no {name!r}{registry.nearest(name, known)}")
    shown = models.get_model_weights(name).DEFAULT.transforms()
    if not isinstance(shown, ImageClassification):
        raise BadInput(f"model: {MODULE}:{name} is no classifier of images")
    size = int(shown.crop_size[0])
    return lambda: models.get_model(name, weights=None), Form(size, shown.mean, shown.std)


def check_images(schema: Schema, name: str, form: Form, channels: Channels) -> None:
    """Raise BadInput for data that are no images, or have another number of channels."""
    if form.size < 1:
        raise BadInput(f"model.size: {form.size} is not at least 1")
    if len(schema.shape) not in (2, 3):
        raise BadInput(f"model: {name} takes images, but an example has shape {schema.shape}")
    if not schema.classes:
        raise BadInput("model: the data has no labels, so there is nothing to tell apart")
    found = schema.shape[2] if len(schema.shape) == 3 else 1
    if found == len(form.mean) or (found == 1 and channels == "repeat"):
        return
    mend = '; set model.channels = "repeat" to show it in each' if found == 1 else ""
    raise BadInput(
        f"model: {name} takes images of {len(form.mean)} channels, but an example has {found}{mend}"
    )
