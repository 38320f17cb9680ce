"""What a strategy's parts give is checked: a part of the user's own is told where it goes wrong."""

from __future__ import annotations

import inspect
import operator
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import UmbelError
from ..rounds import printable
from ..tensors import difference, is_finite


def check_combined(combined: object, model: Mapping[str, Tensor], rule: object) -> None:
    """Raise UmbelError, naming the rule and its file and line, unless `combined` has the
    model's names, shapes and dtypes and nothing but finite values."""
    fault = _fault(combined, model)
    if fault:
        raise UmbelError(f"{called(rule)} ({where(rule)}): {fault}")


def check_chosen(chosen: Sequence[int], population: int, rule: object) -> list[int]:
    """The positions that a rule chose; raises UmbelError, naming the rule and its file and line,
    unless they are in the population, each once, in ascending order."""
    try:
        positions = [operator.index(position) for position in chosen]
    except TypeError:
        positions = []
    inside = all(0 <= position < population for position in positions)
    if positions and inside and positions == sorted(set(positions)):
        return positions
    raise UmbelError(
        f"{called(rule)} ({where(rule)}): it chose {printable(repr(chosen), 80)}, not some of the "
        f"clients 0 to {population - 1} in ascending order"
    )


@contextmanager
def blamed(rule: object) -> Iterator[None]:
    """Turn whatever a rule raises into one line that names it, with its file and line; what it
    refuses of a client stays a refusal."""
    try:
        yield
    except UmbelError:
        raise
    except Exception as error:
        said = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        first = said.strip().partition("\n")[0]
        raise UmbelError(f"{called(rule)} ({where(rule, error)}): {first}") from error


def _fault(combined: object, model: Mapping[str, Tensor]) -> str:
    if not isinstance(combined, dict):
        return f"it gave a {type(combined).__name__}, not a dict of tensors by name"
    odd = next((name for name, v in combined.items() if not isinstance(v, Tensor)), None)
    if odd is not None:
        return f"it gave {odd!r} as a {type(combined[odd]).__name__}, not a tensor"
    found = difference(combined, model)
    if found:
        return f"it gave no such model: {found}"
    for name, value in combined.items():
        if value.requires_grad:
            return f"it gave {name!r} with a gradient to come; give value.detach()"
        if not is_finite(value):
            return f"it gave values of {name!r} that are not finite"
    return ""


def called(rule: object) -> str:
    """What a rule is called: its class's name, or its function's."""
    return str(getattr(_source(rule), "__name__", type(rule).__name__))


def where(rule: object, error: BaseException | None = None) -> str:
    """Where a rule is written, as `file:line`; its module where that cannot be told.

    With an error that it raised, the line is the last one of its file that was under way.
    """
    target = _source(rule)
    try:
        file, line = inspect.getsourcefile(target), inspect.getsourcelines(target)[1]
    except (OSError, TypeError):
        return str(target.__module__)
    frames = traceback.extract_tb(error.__traceback__) if error else []
    inside = [frame.lineno for frame in frames if frame.filename == file and frame.lineno]
    return f"{Path(file or '?')}:{inside[-1] if inside else line}"


def _source(rule: object) -> Any:
    if inspect.isfunction(rule):
        return rule
    return getattr(rule, "function", None) or type(rule)
