"""A trial of a newly made model on examples that say nothing, so that what does not fit is said
before a run begins."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.tensors import to_inputs
from ..data.texts import TEXT, as_texts
from ..errors import BadInput
from ..registry import raised
from ..schema import Schema


def sample_inputs(model: nn.Module, schema: Schema) -> Tensor:
    """Inputs of a model, for two examples that say nothing."""
    encode: Any = getattr(model, "encode", None)
    if schema.dtype == TEXT:
        x = as_texts(["one two three", "one two three four"])
    else:
        x = np.zeros((2, *schema.shape), schema.dtype)
    inputs: Tensor = to_inputs(x, schema) if encode is None else encode(x)
    return inputs


def called_layers(model: nn.Module, schema: Schema) -> set[nn.Module]:
    """The parts of a model that it calls, in evaluation mode, for class scores of two examples.

    A part whose weights alone are used, as of an attention that multiplies by them itself, is not
    among them; of a model without values, on torch's device meta, all are. Neither the model nor
    torch's generator is changed. Raises BadInput where the model fails, or gives no score for each
    class.

    >>> schema = Schema("classification", (3,), "float32", classes=("a", "b"))
    >>> model = nn.Sequential(nn.Linear(3, 2))
    >>> model[0] in called_layers(model, schema)
    True
    """
    if any(value.is_meta for value in model.parameters()):
        return set(model.modules())
    called: set[nn.Module] = set()

    def note(module: nn.Module, given: Any, output: Any) -> None:
        called.add(module)

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            scores = model.eval()(sample_inputs(model, schema))
    except Exception as error:
        raise BadInput(
            f"model: it cannot take the examples, {schema.summary()}: {raised(error)}; see whether "
            "its settings, such as model.size and model.head, fit them"
        ) from error
    finally:
        for module, training in modes.items():
            module.training = training
        for hook in hooks:
            hook.remove()
    shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    if shape != (2, len(schema.classes)):
        raise BadInput(
            f"model: of two examples it gives {shape}, not (2, {len(schema.classes)}): a score for "
            "each class"
        )
    return called
