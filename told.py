"""Files of a run folder that say what its clients, and its server, told of the final model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from .errors import UmbelError
from .rounds import printable, read_object

Told = TypeVar("Told")

LeftOut: TypeAlias = tuple[tuple[str, str], ...]
"""Clients that were asked and did not tell, and why. Both texts come from clients: untrusted."""


def read_told(path: Path, of: Callable[[Mapping[str, Any]], Told]) -> Told | None:
    """What `of` makes of a file, None where there is none; raises UmbelError for a damaged one."""
    told = read_object(path)
    if told is None:
        return None
    try:
        return of(told)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UmbelError(f"{path}: is damaged ({error!r}); remove it") from error


def left_out_of(told: Mapping[str, Any]) -> LeftOut:
    """The clients that a file says did not tell.

    >>> left_out_of({"failures": [{"client": "a", "status": "late", "reason": "asleep"}]})
    (('a', 'asleep'),)
    """
    return tuple((row["client"], row["reason"]) for row in told["failures"])


def count_of(clients: Sequence[Any] | Mapping[str, Any]) -> str:
    """How many clients, in words.

    >>> count_of("a"), count_of("ab")
    ('1 client', '2 clients')
    """
    return f"{len(clients)} client" + ("s" if len(clients) != 1 else "")


def reason_of(left_out: LeftOut) -> str:
    """The first client's reason in parentheses, after a space; empty where nobody is left out.

    >>> reason_of((("a", "asleep"), ("b", "late")))
    ' (a: asleep)'
    """
    if not left_out:
        return ""
    client, reason = left_out[0]
    return f" ({printable(client, 60)}: {printable(reason)})"


def missing_of(left_out: LeftOut) -> str:
    """How many are left out, and why the first is, as the end of a line; empty where nobody is.

    >>> missing_of((("a", "asleep"), ("b", "late")))
    '; 2 left out (a: asleep)'
    """
    return f"; {len(left_out)} left out{reason_of(left_out)}" if left_out else ""
