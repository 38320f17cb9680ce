"""The plots of a run's report, as plain Plotly figures (data and layout, ready for JSON)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from ..rounds import (
    Record,
    evaluation,
    headline_metric,
    number,
    phases,
    printable,
    training_loss,
)

COLOURS = ("#2563eb", "#e07b00", "#0f9d76", "#c2317c", "#7c4dcc", "#1794b8", "#96711a", "#5b6472")
SOURCE_COLOURS = {"federated": COLOURS[0], "central": COLOURS[1], "train": COLOURS[7]}

BARS_MOST = 40

Trace = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """One plot: a heading, one sentence on how to read it, and Plotly's traces and layout."""

    title: str
    data: list[Trace]
    note: str = ""
    layout: dict[str, Any] = field(default_factory=dict)
    height: int = 300


def learning(records: Sequence[Record]) -> list[Figure]:
    """One figure for each metric of the evaluations: the headline metric, the loss, the rest."""
    names = {
        name
        for record in records
        for values in (record.get("metrics") or {}).values()
        for name, value in (values or {}).items()
        if number(value) is not None and name != "examples" and not name.endswith("_count")
    }
    first = headline_metric(records)
    order = [first, "loss", *sorted(names - {first, "loss"})]
    figures = [_learning_figure(records, name) for name in order]
    return [figure for figure in [*figures, _pseudo_labels(records)] if figure.data]


def _pseudo_labels(records: Sequence[Record]) -> Figure:
    """How many of the unlabelled examples were learnt from, and how many of those rightly."""

    def share(record: Record, part: str, whole: str) -> float | None:
        few, all_of_them = (evaluation(record, "train", f"{n}_count") for n in (part, whole))
        return few / all_of_them if few is not None and all_of_them else None

    kept = [(r["round"], share(r, "kept", "unlabelled")) for r in records]
    right = [(r["round"], share(r, "right", "judged")) for r in records]
    traces = line("kept", kept, COLOURS[0]) + line("right, of those kept", right, COLOURS[2])
    layout: dict[str, Any] = {"xaxis": round_axis(records), "hovermode": "x unified"}
    layout["yaxis"] = {"tickformat": ".0%", "rangemode": "tozero"}
    return Figure("Pseudo-labels by round", traces, layout=layout)


def _learning_figure(records: Sequence[Record], name: str) -> Figure:
    traces = []
    for source, colour in SOURCE_COLOURS.items():
        points = [(r["round"], evaluation(r, source, name)) for r in records]
        label = "training" if source == "train" else source
        traces += line(label, points, colour, dash="dot" if source == "train" else "solid")
    if name == "loss" and not traces:
        traces += line("loss", [(r["round"], training_loss(r)) for r in records], COLOURS[0])
    layout = {"xaxis": round_axis(records), "hovermode": "x unified"}
    return Figure(f"{words(name)} by round", traces, layout=layout)


def traffic(records: Sequence[Record]) -> list[Figure]:
    """Bytes up (clients to server) and down: one figure by round, one summed over the rounds."""
    rounds = [record["round"] for record in records]
    by_round: list[Trace] = []
    summed: list[Trace] = []
    for key, name, colour, dash in (
        ("bytes_up", "up: clients to server", COLOURS[2], "solid"),
        ("bytes_down", "down: server to clients", COLOURS[4], "dash"),
    ):
        sizes = [number(record.get(key)) or 0 for record in records]
        if any(sizes):
            points = list(zip(rounds, sizes, strict=True))
            few = len(rounds) <= BARS_MOST
            by_round += (
                [bars(name, rounds, sizes, colour)] if few else line(name, points, colour, dash)
            )
            totals = list(zip(rounds, accumulate(sizes), strict=True))
            summed += line(name, totals, colour, dash)
    if not by_round:
        return []
    axes: dict[str, dict[str, Any]] = {
        "xaxis": round_axis(records),
        "yaxis": {"tickformat": "~s", "ticksuffix": "B"},
    }
    axes["yaxis"] |= {"rangemode": "tozero"}
    return [
        Figure("Bytes by round", by_round, layout={**axes, "hovermode": "x unified"}),
        Figure("Bytes so far", summed, layout={**axes, "hovermode": "x unified"}),
    ]


def durations(records: Sequence[Record]) -> list[Figure]:
    """Seconds of each round, stacked by phase."""
    rounds = [record["round"] for record in records]
    found = [phases(record) for record in records]
    names = list(dict.fromkeys(name for round_phases in found for name in round_phases))
    traces = [
        bars(name, rounds, [seconds.get(name, 0) for seconds in found], COLOURS[i % len(COLOURS)])
        for i, name in enumerate(names)
    ]
    layout: dict[str, Any] = {
        "xaxis": round_axis(records),
        "yaxis": {"ticksuffix": " s"},
        "barmode": "stack",
        "bargap": 0.25 if len(rounds) <= BARS_MOST else 0,
        "hovermode": "x unified",
    }
    return [Figure("Seconds by round and phase", traces, layout=layout)] if traces else []


def words(metric: str) -> str:
    """A metric's name as the start of a heading.

    >>> words("top_5_accuracy")
    'Top 5 accuracy'
    """
    return printable(metric.replace("_", " ").capitalize(), 40)


def round_axis(records: Sequence[Record]) -> dict[str, Any]:
    """An axis of whole rounds."""
    axis: dict[str, Any] = {"title": {"text": "round"}, "tickformat": "d"}
    if records:
        axis["range"] = [records[0]["round"] - 0.5, records[-1]["round"] + 0.5]
    return {**axis, "dtick": 1} if len(records) <= 12 else axis


def line(
    name: str, points: Sequence[tuple[int, float | None]], colour: str, dash: str = "solid"
) -> list[Trace]:
    """A line over rounds as one trace; none where no point has a value."""
    present = [(x, y) for x, y in points if y is not None]
    if not present:
        return []
    return [
        {
            "type": "scatter",
            "mode": "lines+markers" if len(present) <= 40 else "lines",
            "name": name,
            "x": [x for x, _ in present],
            "y": [y for _, y in present],
            "line": {"color": colour, "width": 2, "dash": dash},
            "marker": {"size": 6},
            "hovertemplate": "%{y:.4~g}",
        }
    ]


def bars(name: str, x: Sequence[int], y: Sequence[float], colour: str) -> Trace:
    """Bars over rounds as one trace."""
    marker = {"color": colour, "line": {"width": 0}}
    return {"type": "bar", "name": name, "x": list(x), "y": list(y), "marker": marker}
