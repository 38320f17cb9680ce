"""Experiment files, read with one line a fault: file, key, what was found, what is valid."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from . import registry
from .data.sources import resolve_source
from .errors import BadInput
from .experiment import Experiment
from .sections import Named

_NAMED = {
    "model": "model",
    "paradigm": "paradigm",
    "strategy": "strategy",
    "data.partition": "partitioner",
    "client.optimizer": "optimizer",
    "client.schedule": "schedule",
    "simulation.attack": "attack",
}
"""The keys that hold a name with parameters, and the kind of name that each holds."""


def read(path: Path, overrides: Sequence[str]) -> Experiment:
    """An experiment file with overrides; see `experiment.load`."""
    content = read_toml(path, "an experiment file")
    for override in overrides:
        _override(content, override)
    _name_defaults(content)
    data = content.get("data")
    if isinstance(data, dict):
        for key in ("source", "test", "server", "auxiliary"):
            if isinstance(data.get(key), str) and data[key]:
                data[key] = resolve_source(data[key], path.absolute().parent)
    for section in ("model", "teacher"):
        model = content.get(section)
        if isinstance(model, dict) and isinstance(model.get("weights"), str) and model["weights"]:
            weights = path.absolute().parent / model["weights"]
            if not weights.is_file():
                raise BadInput(f"{path}: {section}.weights: {weights}: no such file")
            model["weights"] = str(weights)
    try:
        experiment = Experiment(**content)
        faults = unknown_names(experiment)
    except BadInput as error:
        faults = list(error.faults)
    if faults:
        raise BadInput([f"{path}: {fault}" for fault in faults])
    return experiment


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """A TOML file's content; raises BadInput where it cannot be read, asking for `what`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; give the path of {what}") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read: {error}") from None


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """pydantic's errors, a line each, with the nearest valid key where one is unknown."""
    return [_line(dict(fault), model) for fault in error.errors(include_url=False)]


def unknown_names(experiment: Experiment, *, but: str = "") -> list[str]:
    """Names that are not known, and parameters that do not fit, a line each; all `but` a key's."""
    faults = []
    for key, kind in _NAMED.items():
        if key == but:
            continue
        choice: Any = experiment
        for part in key.split("."):
            choice = getattr(choice, part)
        if choice is None:
            continue
        try:
            found = [f"{key}.{fault}" for fault in _parameter_faults(kind, choice)]
        except BadInput as error:
            found = [f"{key}.name: {fault}" for fault in error.faults]
        faults += found or _made_faults(experiment, key, kind, choice)
    return faults


def _parameter_faults(kind: str, choice: Named) -> list[str]:
    faults = registry.check(kind, choice.name, choice.parameters)
    if kind == "strategy" and {"updates: missing", "model: missing"} <= set(faults):
        return [f"name: {choice.name} combines updates itself; put @umbel.combine above it"]
    rate = choice.parameters.get("lr", 1.0)
    if kind == "optimizer" and isinstance(rate, int | float) and not rate > 0:
        faults.append(f"lr: must be more than 0, found {rate!r}")
    return faults


def _made_faults(experiment: Experiment, key: str, kind: str, choice: Named) -> list[str]:
    """What only what is made of a choice can tell, where that needs no data: parameters of the
    right type that their owner refuses, and what a strategy asks of the experiment."""
    given = {
        "strategy": (),
        "schedule": (),
        "attack": (),
        "paradigm": (lambda schema: None,),
    }.get(kind)
    if given is None:
        return []
    try:
        made = registry.make(kind, choice.name, choice.parameters, *given)
    except BadInput as error:
        return [f"{key}.name: {fault}" for fault in error.faults]
    except ValueError as error:
        name = str(error).partition(":")[0]
        return [f"{key}.{error}" if name in choice.parameters else f"{key}: {error}"]
    if kind == "paradigm":
        return _too_short(experiment, made) + _unheard(experiment, made)
    if kind != "strategy":
        return []
    from .strategies.cohort import cohort_faults
    from .strategies.fitting import unmet

    faults = [f"name: {choice.name}: {fault}" for fault in unmet(made, experiment)]
    own = experiment.data.server_has_examples
    faults += cohort_faults(made, experiment.data.clients, server_examples=own)
    return [f"{key}.{fault}" for fault in faults]


def _too_short(experiment: Experiment, paradigm: object) -> list[str]:
    """Whether a run would end before a paradigm's first rounds have come to any use."""
    from .paradigms.duration import TakesRounds

    if not isinstance(paradigm, TakesRounds):
        return []
    fault = paradigm.lacking_rounds(experiment.experiment.rounds)
    return [f"experiment.rounds: {fault}"] if fault else []


def _unheard(experiment: Experiment, paradigm: object) -> list[str]:
    """What is to be told of a run's model at its end and cannot be."""
    from .paradigms.base import Predicts, TakesGraphs

    asked, name = experiment.evaluation, experiment.paradigm.name
    faults = []
    if asked.subgraphs and not isinstance(paradigm, TakesGraphs):
        faults = [f"evaluation.subgraphs: {name} takes no graphs; leave it out"]
    if not isinstance(paradigm, Predicts):
        keys = [key for key in ("confusion", "embeddings") if getattr(asked, key)]
        return faults + [f"evaluation.{key}: {name} tells no classes; leave it out" for key in keys]
    if asked.confusion and experiment.data.held_out == 0:
        faults.append("evaluation.confusion: nothing to count; set data.held_out")
    return faults


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


def _name_defaults(content: dict[str, Any]) -> None:
    """Give each table of parameters that has no name the name that it has by default."""
    for key in _NAMED:
        *path, last = key.split(".")
        table: Any = content
        default: Any = Experiment()
        for part in path:
            table = table.get(part) if isinstance(table, dict) else None
            default = getattr(default, part)
        choice = table.get(last) if isinstance(table, dict) else None
        if not isinstance(choice, dict) or "name" in choice or _slip("name", choice):
            continue
        if getattr(default, last) is not None:
            table[last] = {"name": getattr(default, last).name, **choice}


def _slip(wanted: str, found: object) -> str | None:
    """The key of a table that is most likely a misspelt `wanted`.

    >>> _slip("name", {"nam": "fedavg"}), _slip("name", {"fraction": 0.5})
    ('nam', None)
    """
    keys = [key for key in found if isinstance(key, str)] if isinstance(found, dict) else []
    close = difflib.get_close_matches(wanted, keys, n=1, cutoff=0.75)
    return close[0] if close else None


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
        slip = _slip(location[-1], fault["input"])
        if slip is not None:
            slipped = ".".join([*location[:-1], slip])
            return f"{slipped}: unknown key{registry.nearest(slip, location[-1:])}"
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
