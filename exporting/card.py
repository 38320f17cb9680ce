"""A model card: what was trained, on what, how well it does, and how to load it.

Nothing in it names a client or a place on somebody's disk. Names that came from clients (classes,
metrics) are shown so that they cannot be anything but text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..data.sources import parse_source
from ..data.texts import TEXT
from ..gain import WORDS, Gain
from ..models.graph_networks import Network
from ..models.trial import sample_inputs
from ..rounds import number
from .trained import Trained
from .usage import literal, with_onnx, with_torch, without_folders

CARD_FILE = "README.md"

SHOWN_CLASSES = 20
"""A card is read by people: of more classes it gives the number."""

SOURCES = {"federated": "what the clients held out", "central": "the server's test set"}

_METRIC = re.compile(r"[A-Za-z0-9_]{1,40}")


def card(trained: Trained, sha256: str, *, onnx: bool) -> str:
    """The model card, as Hugging Face reads it.

    Args:
        trained: the run.
        sha256: of model.safetensors as it lies beside the card.
        onnx: whether model.onnx lies there, too.
    """
    metrics = _metrics(trained)
    name = trained.experiment.experiment.name
    parts = [
        *_front(trained, metrics, onnx=onnx),
        f"# {name}",
        "",
        f"{_kind(trained).replace('-', ' ').capitalize()}, trained by federated learning with "
        "umbel: the clients' data stayed where they were.",
        "",
        *_section("Results", _results(metrics) | _gain(trained.result.gain)),
        *_section("Model", _model(trained, sha256)),
        *_section("Training", _training(trained)),
        *_section("What travelled", _travelled(trained)),
        *_section("Made with", _versions(trained)),
        "## Use",
        "",
        "In another umbel experiment, as the weights to start from: "
        '`model.weights = "model.safetensors"`. By itself:',
        "",
        *_code(with_torch(trained)),
    ]
    if onnx:
        parts += ["Without torch, with `model.onnx`:", "", *_code(with_onnx(trained))]
    return "\n".join(parts).rstrip() + "\n"


def _front(trained: Trained, metrics: Mapping[str, Any], *, onnx: bool) -> Iterator[str]:
    yield from ("---", "license:  # yours to say, as: apache-2.0", "library_name: umbel")
    yield f"pipeline_tag: {_kind(trained)}"
    yield from ("tags:", "- federated-learning", "- flower", "- umbel")
    if onnx:
        yield "- onnx"
    names = sorted({name for values in metrics.values() for name in values} - {"loss"})
    if names:
        yield from ("metrics:", *(f"- {name}" for name in names))
    yield from ("---", "")


def _section(title: str, facts: Mapping[str, str]) -> list[str]:
    lines = [f"- {name}: {value}" for name, value in facts.items() if value]
    return [f"## {title}", "", *lines, ""] if lines else []


def _code(text: str) -> list[str]:
    return ["```python", text, "```", ""]


def _kind(trained: Trained) -> str:
    schema = trained.schema
    if isinstance(trained.model, Network):
        return "graph-ml"
    what = "text" if schema.dtype == TEXT else "image" if len(schema.shape) > 1 else "tabular"
    return f"{what}-{schema.task}"


def _metrics(trained: Trained) -> dict[str, dict[str, float]]:
    """The last evaluation's figures, by where they were measured."""
    found: dict[str, dict[str, float]] = {}
    for record in trained.result.records:
        for source in SOURCES:
            values = (record.get("metrics") or {}).get(source) or {}
            numbers = {name: number(value) for name, value in values.items()}
            kept = {n: v for n, v in numbers.items() if v is not None and _METRIC.fullmatch(n)}
            if kept:
                found[source] = {n: float(v) for n, v in kept.items() if n != "examples"}
    return found


def _results(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    return {
        f"on {SOURCES[source]}": ", ".join(f"{n} {v:.4f}" for n, v in sorted(values.items()))
        for source, values in metrics.items()
    }


def _gain(gain: Gain | None) -> dict[str, str]:
    """The means over the clients, none of which is named."""
    if gain is None or not gain.scores or not _METRIC.fullmatch(gain.metric):
        return {}
    return {
        f"gain over {described}": f"{gain.metric} {gain.mean(model):+.4f}, mean of "
        f"{len(gain.scores)} clients on what they held out"
        for model, described in WORDS.items()
    }


def _model(trained: Trained, sha256: str) -> dict[str, str]:
    schema = trained.schema
    names = [f"`{literal(name)}`" for name in schema.classes[:SHOWN_CLASSES]]
    more = ", ..." if len(schema.classes) > SHOWN_CLASSES else ""
    columns = [f"`{literal(name)}`" for name in schema.features[:SHOWN_CLASSES]]
    return {
        "architecture": _architecture(trained),
        "parameters": f"{trained.parameters:,}",
        "input": _input(trained),
        "columns": ", ".join(columns) + (", ..." if len(schema.features) > SHOWN_CLASSES else ""),
        "output": _output(trained),
        "classes, in order": ", ".join(names) + more,
        "sha256 of model.safetensors": f"`{sha256}`",
        "sha256 of the run's own model": _text(trained.environment.get("model_sha256")),
    }


def _output(trained: Trained) -> str:
    schema = trained.schema
    if isinstance(trained.model, Network):
        schema = trained.model.schema
    if schema.task == "link-prediction":
        return "features of each node; how likely two are linked is their product's sigmoid"
    if schema.task.endswith("-regression"):
        return "numbers (n, 1)"
    return f"scores (n, {len(schema.classes)}), the highest is the class"


def _input(trained: Trained) -> str:
    schema = trained.schema
    if isinstance(trained.model, Network):
        width, told = trained.model.schema.shape[0], trained.model.schema.edge_width
        more = f", {told} numbers (m, {told}) of each" if told else ""
        return f"nodes float32 (n, {width}), edges int64 (2, m), each both ways{more}"
    if schema.dtype == TEXT:
        return "token ids (n, length), int32, as its tokenizer gives them, -1 after a text's end"
    shape = ", ".join(map(str, sample_inputs(trained.model, schema).shape[1:]))
    if len(schema.shape) > 1:
        value = "bytes over 255, so in [0, 1]" if schema.dtype == "uint8" else "as they are stored"
        return f"images float32 (n, {shape}), channels first, {value}"
    return f"tables float32 (n, {shape})"


def _training(trained: Trained) -> dict[str, str]:
    told, environment = trained.experiment, trained.environment
    weights = told.model.weights
    noised = environment.get("noised_by")
    return {
        "data": _data(told.data.source, str(environment.get("runtime"))),
        "clients": str(environment.get("clients", told.data.clients)),
        "rounds": f"{trained.result.rounds} of {told.experiment.rounds}",
        "seed": str(told.experiment.seed),
        "paradigm": _named(told.paradigm.name, told.paradigm.parameters),
        "strategy": _named(told.strategy.name, told.strategy.parameters),
        "optimiser": _named(told.client.optimizer.name, told.client.optimizer.parameters),
        "began with": f"`{literal(without_folders(weights))}`" if weights else "",
        "clients that added noise of their own": "" if noised is None else str(len(noised)),
        "not in this model": ", ".join(f"`{name}`" for name in trained.kept[:SHOWN_CLASSES])
        + (" were trained at each client and stayed there" if trained.kept else ""),
    }


def _data(source: str, runtime: str) -> str:
    """The data set, where it is one that others can get, too."""
    if runtime == "run":
        return "each client's own"
    parsed = parse_source(source)
    public = parsed.kind in ("bundled", "torchvision") or (
        parsed.kind == "hf" and without_folders(parsed.name) == parsed.name
    )
    return f"`{literal(parsed.name)}`, divided among the clients" if public else "not public"


def _travelled(trained: Trained) -> dict[str, str]:
    environment = trained.environment
    travels, size = environment.get("travels"), environment.get("travels_bytes")
    if travels is None or size is None:
        return {"of the model": "not recorded, for an older umbel wrote the run"}
    whole = sum(value.numel() * value.element_size() for value in trained.tensors.values())
    rows = trained.result.records
    up, down = (sum(int(row.get(way) or 0) for row in rows) for way in ("bytes_up", "bytes_down"))
    return {
        "of the model, a round": f"{size:,} bytes in {len(travels)} tensors "
        f"({size / max(whole, 1):.2%} of the size of the model)",
        "all messages from the clients": f"{up:,} bytes",
        "all messages to the clients": f"{down:,} bytes",
    }


def _architecture(trained: Trained) -> str:
    """The experiment's model or, of a paradigm that has its own, that."""
    if hasattr(trained.model, "arguments"):
        return f"`{type(trained.model).__name__}`"
    model = trained.experiment.model
    return _named(model.name, model.parameters)


def _versions(trained: Trained) -> dict[str, str]:
    environment = trained.environment
    versions = {"umbel": environment.get("umbel"), **(environment.get("versions") or {})}
    return {name: str(versions.get(name) or "not recorded") for name in ("umbel", "torch", "flwr")}


def _named(name: str, parameters: Mapping[str, Any]) -> str:
    given = ", ".join(f"{k} = {literal(v)}" for k, v in without_folders(dict(parameters)).items())
    return f"`{without_folders(name)}{f'({given})' if given else ''}`"


def _text(value: object) -> str:
    return f"`{literal(value)[1:-1]}`" if isinstance(value, str) else ""
