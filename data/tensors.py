"""Stored examples as the tensors that models take."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import BadInput
from ..schema import Schema
from .texts import TEXT


def to_inputs(x: np.ndarray, schema: Schema) -> torch.Tensor:
    """Model inputs, float32, for stored examples (n, *schema.shape).

    Images, (n, H, W) or (n, H, W, C), become (n, C, H, W); bytes 0..255 become [0, 1].
    Tables stay (n, F). The result never shares memory with `x`. Raises BadInput for texts.

    >>> schema = Schema(task="classification", shape=(2, 2), dtype="uint8")
    >>> to_inputs(np.array([[[0, 51], [102, 255]]], np.uint8), schema)
    tensor([[[[0.0000, 0.2000],
              [0.4000, 1.0000]]]])
    """
    if schema.dtype == TEXT:
        raise BadInput(
            "model: the examples are texts; give a model that reads them, such as "
            "transformers:NAME-or-folder"
        )
    inputs = torch.from_numpy(x) if x.flags.writeable else torch.tensor(x)
    if len(schema.shape) == 2:
        inputs = inputs.unsqueeze(1)
    elif len(schema.shape) == 3:
        inputs = inputs.permute(0, 3, 1, 2)
    inputs = inputs.to(torch.float32, copy=True).contiguous()
    return inputs.div_(255) if schema.dtype == "uint8" and len(schema.shape) > 1 else inputs
