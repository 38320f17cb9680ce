"""A run's rounds as metrics.jsonl keeps them: read, laid flat, and put into words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UmbelError

Record = dict[str, Any]
"""One line of metrics.jsonl: what one round did, as `server.record` writes it."""

SOURCES = ("federated", "central")
NOT_HEADLINES = frozenset({"loss", "examples"})


@dataclass(frozen=True)
class Failure:
    """One client's update that did not count, and why. Both texts come from clients: untrusted."""

    round: int
    client: str
    status: str
    reason: str


def read_records(path: Path) -> list[Record]:
    """The rounds of a metrics.jsonl file in order; empty where there is no file yet.

    A last line that a crash cut short is left out. A round that stands there twice (it was
    written, the server died before its checkpoint, and the resumed run did it again) counts
    as its last line says. Anything else that is not a round raises UmbelError.
    """
    if not path.is_file():
        return []
    numbered = [
        (number, line)
        for number, line in enumerate(path.read_bytes().split(b"\n"), start=1)
        if line.strip()
    ]
    records: dict[int, Record] = {}
    for number, line in numbered:
        try:
            record = _parse(line)
        except ValueError as error:
            if number == numbered[-1][0]:
                break
            raise UmbelError(
                f"{path}: line {number} is not a round ({error}); "
                "restore the file, or resume the run from its checkpoint"
            ) from error
        records[record["round"]] = record
    return [records[number] for number in sorted(records)]


def read_object(path: Path) -> dict[str, Any] | None:
    """A file's JSON object; None where there is no file, or one that holds no such object."""
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return told if isinstance(told, dict) else None


def _parse(line: bytes) -> Record:
    record = json.loads(line)
    if not isinstance(record, dict) or not isinstance(record.get("round"), int):
        raise ValueError("no JSON object with a round number")  # noqa: TRY004
    return record


def number(value: object) -> float | int | None:
    """`value` where it is a finite number, otherwise None (NaN has no place in JSON).

    >>> number(0.5), number(float("nan")), number("0.5"), number(True)
    (0.5, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) else None


def flatten(record: Mapping[str, Any]) -> dict[str, float | int | None]:
    """One round as flat columns, for a table.

    >>> row = flatten({"round": 1, "loss": 0.7, "metrics": {"central": {"accuracy": 0.8}},
    ...                "bytes_up": 10, "bytes_down": 20, "seconds": {"train": 1.5, "total": 2.0},
    ...                "clients": [{"client": "client-0", "status": "ok"}]})
    >>> row["central_accuracy"], row["seconds"], row["seconds_train"], row["clients_ok"]
    (0.8, 2.0, 1.5, 1)
    """
    succeeded, failed = client_counts(record)
    flat: dict[str, float | int | None] = {"round": int(record["round"])}
    flat["loss"] = training_loss(record)
    for source, values in (record.get("metrics") or {}).items():
        for name, value in (values or {}).items():
            flat[f"{source}_{name}"] = number(value)
    flat["clients_ok"], flat["clients_failed"] = succeeded, failed
    flat["bytes_up"] = number(record.get("bytes_up"))
    flat["bytes_down"] = number(record.get("bytes_down"))
    flat["seconds"] = total_seconds(record)
    for phase, seconds in phases(record).items():
        flat[f"seconds_{phase}"] = seconds
    return flat


def phases(record: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of each phase of a round, without the total."""
    seconds = record.get("seconds") or {}
    found = {name: number(value) for name, value in seconds.items() if name != "total"}
    return {name: float(value) for name, value in found.items() if value is not None}


def total_seconds(record: Mapping[str, Any]) -> float:
    """Seconds of a whole round: what it says, or else the sum over its phases."""
    total = number((record.get("seconds") or {}).get("total"))
    return float(total) if total is not None else sum(phases(record).values())


def training_loss(record: Mapping[str, Any]) -> float | None:
    """A round's loss: that of the clients' training, over all their examples."""
    loss = number(record.get("loss"))
    return None if loss is None else float(loss)


def headline_metric(records: Iterable[Mapping[str, Any]]) -> str:
    """The evaluation metric to show where there is room for one: accuracy, where it is there.

    >>> headline_metric([{"round": 1, "metrics": {"central": {"loss": 1.0, "error": 0.2}}}])
    'error'
    """
    names: set[str] = set()
    for record in records:
        for source in SOURCES:
            names.update((record.get("metrics") or {}).get(source) or {})
    names -= NOT_HEADLINES
    return "accuracy" if "accuracy" in names or not names else min(names)


def smaller_is_better(metric: str) -> bool:
    """Whether a metric is an error: a loss or an error rate, by its name.

    >>> smaller_is_better("accuracy"), smaller_is_better("mean_squared_error")
    (False, True)
    """
    return "loss" in metric or "error" in metric


def evaluation(record: Mapping[str, Any], source: str, name: str) -> float | None:
    """One evaluation metric of a round, from "federated", "central" or "train"."""
    value = number(((record.get("metrics") or {}).get(source) or {}).get(name))
    return None if value is None else float(value)


def client_counts(record: Mapping[str, Any]) -> tuple[int, int]:
    """How many clients' updates counted in a round, and how many clients failed.

    >>> client_counts({"round": 1, "clients": [{"client": "a", "status": "ok"}],
    ...                "failures": [{"client": "b", "reason": "gone"}]})
    (1, 1)
    """
    good = {entry.get("client") for entry in record.get("clients") or [] if is_ok(entry)}
    bad = {failure.client for failure in failures([record])} - good
    return len(good), len(bad)


def failures(records: Iterable[Mapping[str, Any]]) -> list[Failure]:
    """Every failure of the given rounds in order: those listed as such, and clients not ok."""
    found: list[Failure] = []
    for record in records:
        listed = [_failure(record["round"], entry) for entry in record.get("failures") or []]
        named = {failure.client for failure in listed}
        listed += [
            _failure(record["round"], entry)
            for entry in record.get("clients") or []
            if not is_ok(entry) and entry.get("client") not in named
        ]
        found += dict.fromkeys(listed)
    return found


def is_ok(entry: Mapping[str, Any]) -> bool:
    """Whether a client's entry in a round's record is an update that counted."""
    return bool(entry.get("status", "ok") == "ok")


def _failure(round: int, entry: object) -> Failure:
    if not isinstance(entry, Mapping):
        return Failure(round, "", "failed", str(entry))
    status = str(entry.get("status") or "failed")
    return Failure(round, str(entry.get("client", "")), status, str(entry.get("reason") or status))


def natural(name: str) -> list[tuple[int, int, str]]:
    """A sorting key that counts: client-2 before client-10; no two names are equal by it.

    >>> sorted(["client-10", "client-2"], key=natural)
    ['client-2', 'client-10']
    """
    parts = re.split(r"([0-9]+)", name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def human_bytes(count: float) -> str:
    """A number of bytes for people, in powers of 1000.

    >>> human_bytes(999), human_bytes(12_345), human_bytes(6_653_480)
    ('999 B', '12.3 kB', '6.65 MB')
    """
    size, units = float(count), ["B", "kB", "MB", "GB", "TB", "PB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    digits = 0 if units[0] == "B" else max(0, 2 - int(math.log10(max(size, 1))))
    return f"{size:.{digits}f} {units[0]}"


def human_seconds(seconds: float) -> str:
    """A duration for people.

    >>> human_seconds(0.0314), human_seconds(12.34), human_seconds(12), human_seconds(75)
    ('0.031 s', '12.3 s', '12 s', '1 min 15 s')
    """
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 59.95:
        return f"{seconds} s" if isinstance(seconds, int) else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def selection(count: int, most: int = 12) -> Sequence[int]:
    """Which of `count` rows to show in at most `most`: the first, every k-th, and the last.

    >>> list(selection(5)), list(selection(100))
    ([0, 1, 2, 3, 4], [0, 9, 19, 29, 39, 49, 59, 69, 79, 89, 99])
    """
    if count <= most:
        return range(count)
    steps = (base * 10**power for power in range(18) for base in (1, 2, 5))
    step = next(step for step in steps if count // step + 2 <= most)
    return sorted({0, *range(step - 1, count, step), count - 1})


def printable(text: str, width: int = 200) -> str:
    """A client's own words made safe to show: one line, no control characters, not over `width`.

    >>> printable("a\\x1b[31m\\nb"), printable("abcdefgh", width=5)
    ('a\\ufffd[31m b', 'ab…gh')
    """
    line = " ".join(text.split())
    clean = "".join(letter if letter.isprintable() else "\ufffd" for letter in line)
    if len(clean) <= width:
        return clean
    tail = (width - 1) // 2
    return f"{clean[: width - 1 - tail]}…{clean[len(clean) - tail :]}"
