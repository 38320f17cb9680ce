"""Experiment files, read with one line a fault: file, key, what was found, what is valid."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from . import registry
from .data.sources import resolve_source
from .errors import BadInput
from .experiment import Experiment, Named

_NAMED = {
    "model": "model",
    "paradigm": "paradigm",
    "strategy": "strategy",
    "data.partition": "partitioner",
    "client.optimizer": "optimizer",
    "client.schedule": "schedule",
}
"""The keys that hold a name with parameters, and the kind of name that each holds."""


def read(path: Path, overrides: Sequence[str]) -> Experiment:
    """An experiment file with overrides; see `experiment.load`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; give the path of an experiment file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not TOML: {error}") from None
    for override in overrides:
        _override(content, override)
    data = content.get("data")
    if isinstance(data, dict):
        for key in ("source", "test"):
            if isinstance(data.get(key), str) and data[key]:
                data[key] = resolve_source(data[key], path.absolute().parent)
    try:
        experiment = Experiment(**content)
        faults = unknown_names(experiment)
    except BadInput as error:
        faults = list(error.faults)
    if faults:
        raise BadInput([f"{path}: {fault}" for fault in faults])
    return experiment


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """pydantic's errors, a line each, with the nearest valid key where one is unknown."""
    return [_line(dict(fault), model) for fault in error.errors(include_url=False)]


def unknown_names(experiment: Experiment) -> list[str]:
    """Names that are not known, and parameters that do not fit, a line each."""
    faults = []
    for key, kind in _NAMED.items():
        choice: Any = experiment
        for part in key.split("."):
            choice = getattr(choice, part)
        try:
            found = [f"{key}.{fault}" for fault in _parameter_faults(kind, choice)]
        except BadInput as error:
            found = [f"{key}.name: {fault}" for fault in error.faults]
        faults += found or _range_faults(key, kind, choice)
    return faults


def _parameter_faults(kind: str, choice: Named) -> list[str]:
    faults = registry.check(kind, choice.name, choice.parameters)
    rate = choice.parameters.get("lr", 1.0)
    if kind == "optimizer" and isinstance(rate, int | float) and not rate > 0:
        faults.append(f"lr: must be more than 0, found {rate!r}")
    return faults


def _range_faults(key: str, kind: str, choice: Named) -> list[str]:
    """Parameters of the right type that their owner refuses: made where that needs no data."""
    given = {"strategy": (), "schedule": (), "paradigm": (lambda schema: None,)}.get(kind)
    if given is None:
        return []
    try:
        registry.resolve(kind, choice.name)(*given, **choice.parameters)
    except ValueError as error:
        return [f"{key}.{error}"]
    return []


def _override(content: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise BadInput(f"--set {text}: not of the form section.key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    table = content
    for part in parts[:-1]:
        inner = table.setdefault(part, {})
        if isinstance(inner, str):
            inner = table[part] = {"name": inner}
        if not isinstance(inner, dict):
            raise BadInput(f"--set {text}: {part} is {inner!r}, not a table")
        table = inner
    table[parts[-1]] = parsed


def _line(fault: dict[str, Any], model: type[BaseModel]) -> str:
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location)
    if fault["type"] == "extra_forbidden":
        valid = list(_table_at(model, location[:-1]).model_fields)
        return f"{key}: unknown key{registry.nearest(location[-1], valid)}"
    if fault["type"] == "value_error":
        reason = str(fault["ctx"]["error"])
        return f"{key}: {reason}" if key else reason
    if fault["type"] == "missing":
        return f"{key}: missing"
    message = fault["msg"].replace("Input should be", "must be")
    if fault["type"] == "model_type":
        message = "must be a table"
    return f"{key}: {message}, found {fault['input']!r}"


def _table_at(model: type[BaseModel], location: Sequence[str]) -> type[BaseModel]:
    for part in location:
        annotation: Any = model.model_fields[part].annotation
        choices = [annotation, *getattr(annotation, "__args__", ())]
        model = next(c for c in choices if isinstance(c, type) and issubclass(c, BaseModel))
    return model
