"""Names to objects: built-in names, import paths, and entry points, wherever a name may stand.

Every kind has a table of built-in names; `package.module:Name` works wherever a name does,
and an installed package may add names of its own through the entry-point group
`umbel.strategies`, `umbel.models` and so on. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import metadata
from typing import Any, get_type_hints

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from .errors import BadInput, UmbelError

_TABLES = {
    "strategy": "strategies.catalogue:STRATEGIES",
    "selection": "strategies.catalogue:SELECTIONS",
    "paradigm": "paradigms.catalogue:PARADIGMS",
    "model": "models.catalogue:MODELS",
    "dataset": "data.catalogue:DATASETS",
    "partitioner": "data.catalogue:PARTITIONERS",
    "optimizer": "training.catalogue:OPTIMIZERS",
    "schedule": "training.catalogue:SCHEDULES",
    "attack": "simulation.catalogue:ATTACKS",
}
_GIVEN = {
    "strategy": 0,
    "selection": 0,
    "paradigm": 1,
    "model": 1,
    "dataset": 0,
    "partitioner": 1,
    "optimizer": 1,
    "schedule": 0,
    "attack": 0,
}
"""How many arguments of a kind's factory the framework gives; the others are the user's."""

_LIBRARIES = {
    ("model", "torchvision.models"): "umbel.models.backbones:torchvision_backbone",
    ("model", "transformers"): "umbel.models.hugging_face:transformers_backbone",
}
"""Modules of other libraries whose names are no factories as umbel calls them: what makes one."""

KINDS = tuple(_TABLES)

PLURALS = {kind: "strategies" if kind == "strategy" else f"{kind}s" for kind in KINDS}
"""A kind's plural, as in `umbel list strategies` and the entry-point group `umbel.strategies`."""

_allowed: ContextVar[tuple[str, ...] | None] = ContextVar("allowed imports", default=None)


@dataclass(frozen=True)
class Entry:
    """One name of a kind, as `umbel list` shows it."""

    name: str
    summary: str
    paper: str
    parameters: Mapping[str, str]


@contextmanager
def restrict_imports(prefixes: Sequence[str] | None) -> Iterator[None]:
    """Refuse import paths outside `prefixes` in this block; None allows all.

    A client's node runs inside such a block: an experiment comes from the server, and the
    server must not choose which modules of the site's Python are run.
    """
    token = _allowed.set(None if prefixes is None else tuple(prefixes))
    try:
        yield
    finally:
        _allowed.reset(token)


def names(kind: str) -> list[str]:
    """The built-in names of a kind and those that installed packages add, sorted."""
    return sorted({**_entry_points(kind), **_table(kind)})


def resolve(kind: str, name: str) -> Callable[..., Any]:
    """The factory behind a name; raises BadInput that offers the nearest valid name."""
    target = _table(kind).get(name)
    if target is not None:
        return _import(target, kind, name)
    point = _entry_points(kind).get(name)
    if point is not None:
        return _import(f"{point.module}:{point.attr}", kind, name)
    module, _, attribute = name.partition(":")
    if (kind, module) in _LIBRARIES:
        adapted: Callable[..., Any] = _import(_LIBRARIES[kind, module], kind, name)(attribute)
        return adapted
    if is_import_path(name):
        allowed = _allowed.get()
        if allowed is not None and not any(
            module == prefix or module.startswith(f"{prefix}.") for prefix in allowed
        ):
            raise BadInput(f"{kind} {name!r}: this site does not allow imports of {module}")
        return _import(name, kind, name)
    raise BadInput(f"{kind} {name!r} is unknown{nearest(name, names(kind))}")


def is_import_path(name: str) -> bool:
    """Whether a name is of the form `package.module:Name`.

    >>> is_import_path("umbel.strategies:fedavg"), is_import_path("fedavg")
    (True, False)
    """
    return re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*", name) is not None


def build(kind: str, name: str, parameters: Mapping[str, Any], *given: Any) -> Any:
    """Call a name's factory with what the framework gives and the user's parameters.

    Raises BadInput where the parameters do not fit.
    """
    faults = check(kind, name, parameters)
    if faults:
        raise BadInput([f"{kind} {name!r}: {fault}" for fault in faults])
    try:
        return make(kind, name, parameters, *given)
    except ValueError as error:
        raise BadInput(f"{kind} {name!r}: {error}") from error


def make(kind: str, name: str, parameters: Mapping[str, Any], *given: Any) -> Any:
    """As `build`, for parameters that were checked: raises ValueError where their owner refuses
    one, BadInput where a factory, a user's own, fails in another way."""
    try:
        return resolve(kind, name)(*given, **parameters)
    except (UmbelError, ValueError):
        raise
    except Exception as error:
        raise BadInput(f"{kind} {name!r}: {raised(error)}") from error


def parameters(kind: str, name: str) -> tuple[str, ...]:
    """The names of the parameters that a user may give.

    >>> parameters("strategy", "fedavg")
    ('weighting', 'fraction', 'select')
    """
    return tuple(_parameters(kind, resolve(kind, name)))


def raised(error: BaseException) -> str:
    """An error of a user's own code in one line, with the file and line that raised it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({error.filename}:{error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}{place}"


def check(kind: str, name: str, parameters: Mapping[str, Any]) -> list[str]:
    """What is wrong with a name's parameters, a phrase each: unknown ones, and wrong types."""
    factory = resolve(kind, name)
    known = _parameters(kind, factory)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in _signature(factory))
    hints = _hints(factory)
    faults = []
    for key, value in parameters.items():
        if key not in known:
            if not open_ended:
                faults.append(f"{key}: unknown parameter{nearest(key, list(known))}")
            continue
        if key in hints:
            try:
                TypeAdapter(hints[key]).validate_python(value, strict=True)
            except ValidationError as error:
                message = error.errors()[0]["msg"].replace("Input should be", "must be")
                faults.append(f"{key}: {message}, found {value!r}")
            except PydanticUserError:  # pydantic cannot read the annotation: not the user's fault
                continue
    faults += [
        f"{key}: missing"
        for key, parameter in known.items()
        if parameter.default is parameter.empty and key not in parameters
    ]
    return faults


def describe(kind: str) -> list[Entry]:
    """Every name of a kind with its meaning, its paper and its parameters."""
    return [_entry(kind, name, resolve(kind, name)) for name in names(kind)]


def nearest(name: str, valid: Sequence[str]) -> str:
    """A hint at the nearest valid name, and at all of them, or the first twenty.

    >>> nearest("fedavgg", ["fedavg", "fedprox"])
    "; did you mean 'fedavg'? valid: fedavg, fedprox"
    """
    if not valid:
        return "; none is valid here"
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    more = ", ..." if len(valid) > 20 else ""
    return f"{hint} valid: {', '.join(valid[:20])}{more}"


def _entry(kind: str, name: str, factory: Callable[..., Any]) -> Entry:
    text = inspect.getdoc(factory) or ""
    paper = re.search(r"Paper: (.+?(?:arXiv [\d.]+|doi [^\s,]+|$))", text, re.S)
    parameters = {
        key: "required" if p.default is p.empty else repr(p.default)
        for key, p in _parameters(kind, factory).items()
    }
    summary = text.partition("\n\n")[0].replace("\n", " ")
    return Entry(name, summary, " ".join(paper.group(1).split()) if paper else "", parameters)


def _signature(factory: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(factory).parameters.values())


def _parameters(kind: str, factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The user's parameters: all but what the framework gives."""
    own = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = [parameter for parameter in _signature(factory) if parameter.kind in own]
    positional = [p for p in signature if p.kind is p.POSITIONAL_OR_KEYWORD]
    given = {parameter.name for parameter in positional[: _GIVEN[kind]]}
    return {p.name: p for p in signature if p.name not in given}


def _hints(factory: Callable[..., Any]) -> dict[str, Any]:
    target = factory.__init__ if inspect.isclass(factory) else factory
    try:
        return get_type_hints(target, include_extras=True)
    except (NameError, TypeError):  # hints that only a type checker can resolve
        return {}


def _table(kind: str) -> Mapping[str, str]:
    module, _, attribute = _TABLES[kind].partition(":")
    found = importlib.import_module(f".{module}", __package__)
    table: Mapping[str, str] = getattr(found, attribute)
    return table


def _entry_points(kind: str) -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=f"umbel.{PLURALS[kind]}")}


def _import(target: str, kind: str, name: str) -> Callable[..., Any]:
    module, _, attribute = target.partition(":")
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"{kind} {name!r} cannot be imported: {error}") from error
    except Exception as error:
        raise BadInput(f"{kind} {name!r} cannot be imported: {raised(error)}") from error
    if not callable(value):
        raise BadInput(
            f"{kind} {name!r} is a {type(value).__name__}, and nothing that makes one; name a "
            "function that returns it"
        )
    factory: Callable[..., Any] = value
    return factory
