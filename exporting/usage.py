"""How to load an exported model, as code that runs in its folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.texts import TEXT
from ..models.backbones import MODULE, Form
from ..models.graph_networks import GraphNetwork, Network
from ..models.trial import sample_inputs
from ..paradigms.graph.mending import Generator, MendedNetwork
from ..paradigms.transfer.trees import forest_head
from ..schema import Schema
from .graph import INPUT, OUTPUT
from .library import transformers_body
from .trained import Trained

POOLINGS = {
    "mean": "states.mean(dim=1)  # of the tokens of one text, without padding",
    "first": "states[:, 0]",
    "last": "states[:, -1]",
}
"""Features of one text, as `TextBackbone` makes them of its tokens' states."""


def literal(value: Any) -> str:
    """A value as it stands in Python code; no text in it can end the code that it is in.

    >>> literal(["a`b", 1, True])
    '["a\\\\u0060b", 1, True]'
    """
    if isinstance(value, dict):
        pairs = (f"{literal(str(key))}: {literal(inner)}" for key, inner in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("`", "\\u0060")
    return repr(value)


def without_folders(value: Any) -> Any:
    """A value of the experiment's without the places on the machine where it ran: of a path its
    last part is left.

    >>> without_folders({"name": "transformers:/home/ada/bert", "hidden": [8]})
    {'name': 'transformers:bert', 'hidden': [8]}
    """
    if isinstance(value, dict):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    if not isinstance(value, str):
        return value
    kind, colon, rest = value.rpartition(":")
    rest = rest.partition("?")[0] if "/" in rest else rest
    is_path = rest.startswith(("/", ".", "~")) or "\\" in rest
    return f"{kind}{colon}{Path(rest).name}" if is_path else value


def with_torch(trained: Trained) -> str:
    """Code that reads model.safetensors."""
    model = trained.experiment.model
    if isinstance(trained.model, Network):
        return _with_graph(trained, trained.model)
    if forest_head(trained.model) is not None:
        return _with_umbel(trained)
    if model.name.startswith(f"{MODULE}:") and "head" not in model.parameters:
        return _with_torchvision(trained, model.name.partition(":")[2])
    if transformers_body(trained.model) is not None:
        return _with_transformers(trained)
    return _with_umbel(trained)


def with_onnx(trained: Trained) -> str:
    """Code that scores an example with model.onnx."""
    shape = tuple(sample_inputs(trained.model, trained.schema).shape[1:])
    if trained.schema.dtype == TEXT:
        given = "np.array([[5, 6, 7]], np.int32)  # token ids; -1 after the end of a shorter text"
    else:
        given = f"np.zeros((1, {', '.join(map(str, shape))}), np.float32)"
    return "\n".join(
        [
            "import numpy as np",
            "import onnxruntime",
            "",
            'session = onnxruntime.InferenceSession("model.onnx")',
            f"{INPUT} = {given}",
            f'[scores] = session.run(["{OUTPUT}"], {{"{INPUT}": {INPUT}}})',
        ]
    )


def _with_torchvision(trained: Trained, name: str) -> str:
    return "\n".join(
        [
            "import torch",
            "from safetensors.torch import load_file",
            "from torchvision.models import get_model",
            "",
            f'model = get_model("{name}", weights=None, num_classes={_classes(trained.schema)})',
            'model.load_state_dict(load_file("model.safetensors"))',
            f"images = {_normalised(trained.model)}",
            "scores = model.eval()(images)",
        ]
    )


def _with_transformers(trained: Trained) -> str:
    reads = trained.schema.dtype == TEXT
    model: Any = trained.model
    if reads:
        first = "from transformers import AutoModel, AutoTokenizer"
        given = [
            'tokenizer = AutoTokenizer.from_pretrained(".")',
            f'tokens = tokenizer("a text", truncation=True, max_length={model.length},'
            ' return_tensors="pt")',
            'states = body(input_ids=tokens["input_ids"]).last_hidden_state',
            f"features = {POOLINGS[model.pooling]}",
        ]
    else:
        first = "from transformers import AutoModel"
        given = [
            f"images = {_normalised(model)}",
            "states = body(images).last_hidden_state",
            "features = states[:, 0] if states.dim() == 3 else states.mean(dim=(2, 3))",
        ]
    return "\n".join(
        [
            "import torch",
            "from safetensors.torch import load_file",
            first,
            "",
            'head = load_file("model.safetensors")  # the body, too, and its output layer',
            'body = AutoModel.from_pretrained(".").eval()',
            *given,
            'scores = features @ head["head.weight"].T + head["head.bias"]',
        ]
    )


def _with_graph(trained: Trained, network: Network) -> str:
    """For two nodes with an edge between them."""
    schema = network.schema
    given = ["x", "edges", "torch.zeros(2, schema.edge_width)" if schema.edge_width else "None"]
    if isinstance(network, GraphNetwork):
        given += ["torch.zeros(2, dtype=torch.int64)", "1"]  # Both are in the first graph of one.
    call = [
        f"x, edges = torch.zeros(2, {schema.shape[0]}), torch.tensor([[0, 1], [1, 0]])",
        f"scores = model.eval()({', '.join(given)})",
    ]
    return _by_name(trained, schema, f", edge_width={schema.edge_width}", call)


def _with_umbel(trained: Trained) -> str:
    schema = trained.schema
    shape = tuple(sample_inputs(trained.model, schema).shape[1:])
    arguments = getattr(trained.model, "arguments", None)
    if arguments is not None:
        return _with_class(type(trained.model), arguments, shape)
    features = f", {literal(schema.features)}" if schema.features else ""
    call = [f"scores = model.eval()(torch.zeros(1, {', '.join(map(str, shape))}))"]
    return _by_name(trained, schema, features, call)


def _by_name(trained: Trained, schema: Schema, more: str, call: Sequence[str]) -> str:
    """For a model of the registry's, made for a schema that says `more`; `call` has it score."""
    model = trained.experiment.model
    known = f"{literal(schema.task)}, {schema.shape!r}, {literal(schema.dtype)}, classes{more}"
    parameters = literal(without_folders(model.parameters))
    forest = forest_head(trained.model)
    head = [] if forest is None else [f'model.set_submodule("head", {forest.code})']
    around, kinds = [], ", ".join(kind.__name__ for kind in (Generator, MendedNetwork))
    if isinstance(trained.model, MendedNetwork):
        most = trained.model.generator.shape[0]
        around = [f"model = MendedNetwork(model, Generator(schema, {most})).of(schema)"]
    return "\n".join(
        [
            "import torch",
            "from safetensors.torch import load_file",
            "from umbel import registry",
            *(["from umbel.paradigms.transfer.trees import Forest"] if head else []),
            *([f"from {MendedNetwork.__module__} import {kinds}"] if around else []),
            "from umbel.schema import Schema",
            "",
            f"classes = {literal(schema.classes)}",
            f"schema = Schema({known})",
            f'model = registry.build("model", {literal(model.name)}, {parameters}, schema)',
            *head,
            *around,
            'model.load_state_dict(load_file("model.safetensors"))',
            *call,
        ]
    )


def _with_class(kind: type, arguments: Sequence[Any], shape: Sequence[int]) -> str:
    """For a model that is the paradigm's own."""
    return "\n".join(
        [
            "import torch",
            "from safetensors.torch import load_file",
            f"from {kind.__module__} import {kind.__name__}",
            "",
            f"model = {kind.__name__}({', '.join(map(literal, arguments))})",
            'model.load_state_dict(load_file("model.safetensors"))',
            f"scores = model.eval()(torch.zeros(1, {', '.join(map(str, shape))}))",
        ]
    )


def _classes(schema: Schema) -> int:
    return len(schema.classes)


def _normalised(model: Any) -> str:
    """Images as an architecture takes them, in words beside the code."""
    form: Form = model.form
    mean, deviation = ([round(v, 6) for v in values] for values in (form.mean, form.deviation))
    shape = f"1, {len(form.mean)}, {form.size}, {form.size}"
    return f"torch.zeros({shape})  # of [0, 1], minus {mean}, over {deviation}"
