"""Models of Hugging Face's transformers as backbones: readers of texts and of images.

Each is read from a folder, or by a name from what was downloaded before; nothing is downloaded
here, and no code but the library's own is run. Only safetensors are read, never a pickle.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..data.texts import TEXT
from ..errors import BadInput
from ..schema import Schema
from .backbones import Backbone, Channels, Form, check_images

Pooling = Literal["mean", "first", "last"]

PADDING = -1
"""The token id of a place after a text's end."""


class TextBackbone(nn.Module):
    """Class scores (n, classes) of texts as token ids (n, length), `PADDING` after their end.

    Args:
        body: a transformer that gives a state for each token.
        head: a linear layer over the features.
        tokenizer: the transformer's own.
        length: the most tokens of a text that are read.
        pooling: what features are: the `mean` of the tokens' states, or that of the `first` or the
            `last` token.
    """

    def __init__(
        self, body: nn.Module, head: nn.Linear, tokenizer: Any, *, length: int, pooling: Pooling
    ) -> None:
        super().__init__()
        self.replaced = ""  # The body had no output layer.
        self.body = body
        self.head = head
        self.tokenizer = tokenizer
        self.length = length
        self.pooling = pooling

    def encode(self, texts: np.ndarray) -> Tensor:
        """Token ids (n, longest), int32, of texts (n,)."""
        if len(texts) == 0:
            return torch.empty((0, 1), dtype=torch.int32)
        found = self.tokenizer(texts.tolist(), truncation=True, max_length=self.length)
        rows = [torch.tensor(row or [0], dtype=torch.int32) for row in found["input_ids"]]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)

    def features(self, inputs: Tensor) -> Tensor:
        """What the head looks at, (n, d)."""
        inside = inputs != PADDING
        ends = inside.sum(dim=1)
        if not torch.compiler.is_exporting():
            # Saves work and changes nothing; in a graph no size can follow from values.
            longest = int(ends.max()) if len(ends) else 0
            inside, inputs = inside[:, :longest], inputs[:, :longest]
        tokens = inputs.clamp(min=0).long()
        output = self.body(input_ids=tokens, attention_mask=inside.long())
        states: Tensor = output.last_hidden_state
        if self.pooling == "first":
            return states[:, 0]
        if self.pooling == "last":
            return states[torch.arange(len(states)), ends - 1]
        weights = inside.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(dim=1) / weights.sum(dim=1)

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(inputs))
        return scores


def transformers_backbone(name: str) -> Callable[..., nn.Module]:
    """The factory of a model in a folder, or of one that was downloaded under a name."""

    def build(
        schema: Schema,
        *,
        pretrained: bool = True,
        length: int = 128,
        pooling: Pooling = "mean",
        size: int | None = None,
        channels: Channels = "refuse",
    ) -> nn.Module:
        library = _transformers(name)
        if not schema.classes:
            raise BadInput("model: the data has no labels, so there is nothing to tell apart")
        if schema.dtype == TEXT:
            if length < 1:
                raise BadInput(f"model.length: {length} is not at least 1")
            return _reader(library, name, schema, pretrained, length, pooling)
        form = _form(library, name, size)
        check_images(schema, name, form, channels)
        body = _body(library, name, pretrained)
        features = _width(name, body.config)
        return Backbone(body, nn.Linear(features, len(schema.classes)), form, pooled=_seen)

    build.__doc__ = f"""`{name}` of transformers with a new output layer.

    Args:
        pretrained: start from the weights that come with it; else only the architecture is kept.
        length: the most tokens of a text that are read.
        pooling: what is made of the tokens' states: their `mean`, the `first` or the `last`.
        size: the side that images are brought to, in pixels; default: the model's own.
        channels: `repeat` shows a grey image in each of the model's channels.
    """
    return build


def _reader(
    library: Any, name: str, schema: Schema, pretrained: bool, length: int, pooling: Pooling
) -> nn.Module:
    with _told(name):
        tokenizer = library.AutoTokenizer.from_pretrained(_place(name), local_files_only=True)
    body = _body(library, name, pretrained)
    head = nn.Linear(_width(name, body.config), len(schema.classes))
    length = min(length, _longest(body), tokenizer.model_max_length)
    return TextBackbone(body, head, tokenizer, length=length, pooling=pooling)


def _longest(body: Any) -> int:
    """The most tokens that a transformer has places for."""
    places: int = getattr(body.config, "max_position_embeddings", sys.maxsize)
    embeddings = getattr(getattr(body, "embeddings", None), "position_embeddings", None)
    # RoBERTa's first places are those of padding.
    padding = getattr(embeddings, "padding_idx", None)
    return places if padding is None else places - padding - 1


def _body(library: Any, name: str, pretrained: bool) -> Any:
    """The transformer without its output layer; random by torch's generator, or as it comes."""
    place, local = _place(name), {"local_files_only": True}
    with _told(name):
        if pretrained:
            model = library.AutoModel.from_pretrained(
                place, use_safetensors=True, dtype=torch.float32, **local
            )
        else:
            config = library.AutoConfig.from_pretrained(place, **local)
            model = library.AutoModel.from_config(config).float()
    pooler = getattr(model, "pooler", None)
    if isinstance(pooler, nn.Module) and next(pooler.parameters(), None) is not None:
        # It is not used here: it would be trained, and travel, for nothing.
        model.pooler = None
    return model.train()


def _width(name: str, config: Any) -> int:
    """How many features the transformer makes."""
    sizes = getattr(config, "hidden_sizes", None)
    width = sizes[-1] if sizes else getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise BadInput(f"model: transformers:{name}: the number of its features cannot be told")
    return width


def _seen(output: Any) -> Tensor:
    """The features of images: of a transformer the state of its first token, which stands for the
    whole, of a convolutional network the mean over the places."""
    states: Tensor = output.last_hidden_state
    return states[:, 0] if states.dim() == 3 else states.mean(dim=(2, 3))


def _form(library: Any, name: str, size: int | None) -> Form:
    with _told(name):
        read = library.image_processing_utils.BaseImageProcessor.get_image_processor_dict
        told, _ = read(_place(name), local_files_only=True)
    side = told.get("crop_size") if told.get("do_center_crop") else told.get("size")
    if isinstance(side, dict):
        side = side.get("height") or side.get("shortest_edge")
    try:
        mean, deviation = list(told["image_mean"]), list(told["image_std"])
        return Form(int(size or side), mean, deviation)
    except (KeyError, TypeError, ValueError):
        raise BadInput(
            f"model: transformers:{name}: its preprocessor_config.json says no size, mean and "
            "deviation of images"
        ) from None


def _place(name: str) -> str:
    path = Path(name).expanduser()
    return str(path) if path.is_dir() else name


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what the library raises into one line."""
    try:
        yield
    except BadInput:
        raise
    except Exception as error:
        first = str(error).strip().partition("\n")[0][:200]
        raise BadInput(
            f"model: transformers:{name} cannot be read here: {first}; give a folder, or get it "
            f"first: hf download {name}"
        ) from error


def _transformers(name: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise BadInput(
            f"model: transformers:{name} needs transformers: {error}; pip install 'umbel[text]'"
        ) from error
    library: Any = transformers
    library.utils.logging.set_verbosity_error()
    library.utils.logging.disable_progress_bar()
    return library
