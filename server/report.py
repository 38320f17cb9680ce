"""report.html: a run's record as one page that opens anywhere, without a network."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..result import EXPERIMENT_FILE, MODEL_FILE, OVER, Result, Row, read_environment
from ..rounds import (
    SOURCES,
    Failure,
    failures,
    headline_metric,
    human_bytes,
    human_seconds,
    printable,
)
from . import (
    report_clients,
    report_confusion,
    report_embeddings,
    report_figures,
    report_gain,
    report_graphs,
    report_partition,
    report_subgraphs,
)
from .record import write_text
from .report_figures import Figure
from .report_page import render

FAILURES_MOST = 1000
REPORT_FILE = "report.html"


@dataclass(frozen=True)
class Travelling:
    """One tensor that crossed the wire: `elements` is the product of its shape."""

    direction: str
    name: str
    shape: str
    dtype: str
    elements: str


def write_report(folder: Path) -> Path:
    """Write report.html into a run folder, whole or not at all, and return its path.

    Works for a run that is over, goes on, or died. Raises BadInput where `folder` holds no run.
    """
    path = folder / REPORT_FILE
    write_text(path, report_page(folder))
    return path


def report_page(folder: Path) -> str:
    """The report of a run folder as it is at this moment; raises BadInput where it holds no run."""
    result = Result.open(folder)
    environment = read_environment(folder)
    text = _text(folder / EXPERIMENT_FILE)
    sections = _sections(result, environment)
    return render(
        {
            **_header(result, environment, _table(text)),
            **_failures(failures(result.records)),
            **_rows(result.rows),
            **_travels(environment.get("travels")),
            "sections": sections,
            "environment": list(_leaves(environment)),
            "experiment": text,
            "sha256": result.sha256 if (folder / MODEL_FILE).is_file() else "no model yet",
        },
        {id: _drawing(plot) for _, plots in sections for id, plot in plots},
    )


def _sections(
    result: Result, environment: Mapping[str, Any]
) -> list[tuple[str, list[tuple[str, Figure]]]]:
    records = result.records
    headed = {
        "Learning": report_figures.learning(records),
        "Clients": report_clients.clients(records),
        "Partition": report_partition.partition(result.partition),
        "Gain": report_gain.gains(result.gain),
        "Confusion": report_confusion.confusions(result.confusion),
        "Embeddings": report_embeddings.embedded(result.embeddings),
        "Graphs": [
            *report_subgraphs.drawn(result.subgraphs),
            *report_graphs.graphs(environment),
        ],
        "Traffic": report_figures.traffic(records),
        "Time": report_figures.durations(records),
    }
    return [
        (heading, [(f"{heading.lower()}-{i}", figure) for i, figure in enumerate(figures)])
        for heading, figures in headed.items()
        if figures
    ]


def _drawing(figure: Figure) -> dict[str, Any]:
    drawing = {key: value for key, value in asdict(figure).items() if key in ("data", "layout")}
    return {**drawing, "height": figure.height, "legend": len(figure.data) > 1}


def _header(
    result: Result, environment: Mapping[str, Any], experiment: Mapping[str, Any]
) -> dict[str, Any]:
    section = experiment.get("experiment") or {}
    parts = [str(environment["runtime"])] if environment.get("runtime") else []
    for key in ("paradigm", "strategy", "model"):
        if isinstance(experiment.get(key), Mapping) and "name" in experiment[key]:
            parts.append(f"{key} {experiment[key]['name']}")
    if isinstance(experiment.get("data"), Mapping):
        parts.append(f"data {experiment['data'].get('source', '')}")
    parts += [f"seed {section['seed']}"] if "seed" in section else []
    return {
        "name": str(section.get("name", result.folder.name)),
        "status": result.status,
        "finished": result.status in OVER,
        "lead": " · ".join(parts),
        "tiles": list(_tiles(result, section.get("rounds"))),
    }


def _tiles(result: Result, planned: int | None) -> Iterator[tuple[str, str, str]]:
    yield "Rounds", str(result.rounds), f"of {planned}" if planned else ""
    metric = headline_metric(result.records)
    for source in SOURCES:
        values = [row.get(f"{source}_{metric}") for row in result.rows]
        if present := [value for value in values if value is not None]:
            yield f"{source.capitalize()} {printable(metric, 40)}", _cell(present[-1]), ""
    if losses := [row["loss"] for row in result.rows if row["loss"] is not None]:
        yield "Training loss", _cell(losses[-1]), ""
    if result.gain is not None and result.gain.scores:
        yield "Hurt by transfer", str(len(result.gain.hurt)), f"of {len(result.gain.scores)}"
    entries = (entry for record in result.records for entry in record.get("clients") or [])
    seen = {str(entry.get("client", "")) for entry in entries}
    failed = failures(result.records)
    seen |= {failure.client for failure in failed}
    yield "Clients seen", str(len(seen)), ""
    for key, label in (("bytes_up", "Bytes up"), ("bytes_down", "Bytes down")):
        size, unit = human_bytes(sum(row[key] or 0 for row in result.rows)).split()
        yield label, size, unit
    yield "Time", human_seconds(sum(row["seconds"] or 0 for row in result.rows)), ""
    yield "Failures", str(len(failed)), ""


def _failures(found: Sequence[Failure]) -> dict[str, Any]:
    shown = [
        Failure(f.round, printable(f.client, 80), printable(f.status, 40), printable(f.reason, 500))
        for f in found[:FAILURES_MOST]
    ]
    return {"failures": shown, "failures_left_out": len(found) - len(shown)}


def _rows(rows: Sequence[Row]) -> dict[str, Any]:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return {
        "columns": [column.replace("_", " ") for column in columns],
        "rows": [[_cell(row.get(column)) for column in columns] for row in rows],
    }


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 else f"{value:.4g}"


def _travels(travels: object) -> dict[str, Any]:
    rows = list(_travelling(travels))
    return {"travels": rows, "directions": any(row.direction for row in rows)}


def _travelling(travels: object, direction: str = "") -> Iterator[Travelling]:
    """The tensors of environment.json's "travels": a list, or a list for each direction."""
    if isinstance(travels, Mapping):
        for key, part in travels.items():
            yield from _travelling(part, str(key))
    elif isinstance(travels, list):
        for entry in travels:
            shape = [int(size) for size in entry.get("shape", [])]
            yield Travelling(
                direction=direction,
                name=str(entry.get("name", "")),
                shape=" x ".join(map(str, shape)) or "scalar",
                dtype=str(entry.get("dtype", "")).removeprefix("torch."),
                elements=f"{math.prod(shape):,}",
            )


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every plain value of environment.json under its dotted key, but for what is shown apart."""
    for key, inner in value.items():
        if f"{prefix}{key}" in ("travels", "graphs"):
            continue
        if isinstance(inner, Mapping):
            yield from _leaves(inner, f"{prefix}{key}.")
        else:
            shown = ", ".join(map(str, inner)) if isinstance(inner, list) else str(inner)
            yield f"{prefix}{key}", shown


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _table(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}
