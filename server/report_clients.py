"""What each client told in each round, as plots that stay readable from 3 clients to a million."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..rounds import Record, is_ok, natural, number, printable
from .report_figures import COLOURS, Figure, Trace, line, round_axis, words

LINES_MOST = 8
HEATMAP_MOST = 200
NAMED_BARS_MOST = 30
METRICS_MOST = 6


def clients(records: Sequence[Record]) -> list[Figure]:
    """What each client's reply said: one figure for each metric, and the examples of each.

    Up to 8 clients are lines, up to 200 a heat map; of more, the spread over them is shown.
    """
    table = client_table(records)
    names = sorted({client for values in table.values() for client, _ in values}, key=natural)
    if not names:
        return []
    labels = dict(zip(names, unique_labels(names), strict=True))
    metrics = [name for name in table if name != "examples"][:METRICS_MOST]
    figures = [_client_figure(records, metric, table[metric], labels) for metric in metrics]
    if "examples" in table:
        figures.append(_examples_figure(table["examples"], labels))
    return figures


def client_table(records: Iterable[Record]) -> dict[str, dict[tuple[str, int], float]]:
    """Every figure of the updates that counted: metric -> (client, round) -> value."""
    table: dict[str, dict[tuple[str, int], float]] = {}
    for record in records:
        for entry in filter(is_ok, record.get("clients") or []):
            key = (str(entry.get("client", "")), int(record["round"]))
            for metric, value in _entry_figures(entry):
                table.setdefault(metric, {})[key] = value
    return table


def _entry_figures(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in entry.items():
        if isinstance(value, Mapping):
            yield from _entry_figures(value, "" if name == "metrics" else f"{prefix}{name} ")
        elif (figure := number(value)) is not None and name != "client":
            yield f"{prefix}{name}", float(figure)


def _client_figure(
    records: Sequence[Record],
    metric: str,
    values: Mapping[tuple[str, int], float],
    labels: Mapping[str, str],
) -> Figure:
    title = f"{words(metric)} of each client"
    rounds = [record["round"] for record in records]
    if len(labels) <= LINES_MOST:
        traces: list[Trace] = []
        for (client, label), colour in zip(labels.items(), COLOURS, strict=False):
            traces += line(label, [(r, values.get((client, r))) for r in rounds], colour)
        layout = {"xaxis": round_axis(records), "yaxis": {"rangemode": "tozero"}}
        return Figure(title, traces, layout=layout)
    if len(labels) <= HEATMAP_MOST:
        return _heatmap(title, records, values, labels)
    return _spread(f"{words(metric)} across clients", records, values)


def _heatmap(
    title: str,
    records: Sequence[Record],
    values: Mapping[tuple[str, int], float],
    labels: Mapping[str, str],
) -> Figure:
    rounds = [record["round"] for record in records]
    low, high = quantile(values.values(), 0.02), quantile(values.values(), 0.98)
    trace: Trace = {
        "type": "heatmap",
        "x": rounds,
        "y": list(labels.values()),
        "z": [[values.get((client, r)) for r in rounds] for client in labels],
        "zmin": low,
        "zmax": high if high > low else low + 1,
        "colorscale": [[0, "#eaf1fb"], [0.5, "#6fa0e6"], [1, "#12357f"]],
        "colorbar": {"thickness": 10, "outlinewidth": 0, "len": 1, "tickfont": {"size": 11}},
        "xgap": 1 if len(rounds) <= 30 else 0,
        "ygap": 1 if len(labels) <= 30 else 0,
        "hovertemplate": "%{y}, round %{x}: %{z:.4~g}<extra></extra>",
        "hoverongaps": False,
    }
    layout = {
        "xaxis": {**round_axis(records), "showgrid": False},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
    }
    note = "Empty where a client did not take part; colours end at the 2nd and 98th percentile."
    row = 18 if len(labels) <= 30 else 8 if len(labels) <= 100 else 5
    return Figure(title, [trace], note, layout, height=max(300, row * len(labels) + 70))


def _spread(
    title: str, records: Sequence[Record], values: Mapping[tuple[str, int], float]
) -> Figure:
    by_round: dict[int, list[float]] = {}
    for (_, round), value in values.items():
        by_round.setdefault(round, []).append(value)
    rounds = sorted(by_round)
    traces: list[Trace] = []
    bands = (("lowest to highest", 0.0, 1.0, "#dbe7fb"), ("middle half", 0.25, 0.75, "#9dbff2"))
    for name, low, high, colour in bands:
        for share, fill in ((low, "none"), (high, "tonexty")):
            y = [quantile(by_round[round], share) for round in rounds]
            style = {"mode": "lines", "line": {"width": 0}, "fill": fill, "fillcolor": colour}
            shown = fill != "none"
            traces.append(
                {"x": rounds, "y": y, "name": name, "showlegend": shown, "hoverinfo": "skip"}
                | style
            )
    middle = [(round, quantile(by_round[round], 0.5)) for round in rounds]
    traces += line("median", middle, COLOURS[0])
    return Figure(
        title,
        traces,
        "The spread over the clients that took part in each round.",
        {"xaxis": round_axis(records), "hovermode": "x unified"},
    )


def _examples_figure(values: Mapping[tuple[str, int], float], labels: Mapping[str, str]) -> Figure:
    latest: dict[str, float] = {}
    for client, round in sorted(values, key=lambda key: key[1]):
        latest[client] = values[client, round]
    return of_each("Examples of each client", latest, labels, "%{x}: %{y} examples")


def of_each(
    title: str, values: Mapping[str, float], labels: Mapping[str, str], shown: str
) -> Figure:
    """A bar for each client, in the order of `labels`; of many, from the largest to the smallest.

    Args:
        title: the figure's.
        values: by client.
        labels: by client.
        shown: what is said where the pointer is.
    """
    named = len(values) <= NAMED_BARS_MOST
    order = [client for client in labels if client in values]
    if not named:
        order.sort(key=lambda client: -values[client])
    trace: Trace = {
        "type": "bar",
        "x": [labels[client] for client in order],
        "y": [values[client] for client in order],
        "marker": {"color": COLOURS[2], "line": {"width": 0}},
        "hovertemplate": f"{shown}<extra></extra>",
    }
    layout = {
        "xaxis": {"type": "category", "showgrid": False, "showticklabels": named},
        "bargap": 0.6 if len(values) <= 6 else 0.25 if named else 0,
    }
    note = "" if named else f"{len(values)} clients, largest first."
    return Figure(title, [trace], note, layout)


def unique_labels(names: Iterable[str], width: int = 24) -> list[str]:
    """Names of clients as plot labels: short, told apart, and with no markup for Plotly to obey.

    >>> unique_labels(["client-1", "<b>x</b>"])
    ['client-1', '&lt;b&gt;x&lt;/b&gt;']
    """
    labels: dict[str, None] = {}
    for name in names:
        short = printable(name, width) or "(no name)"
        for mark, old in (("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">")):
            short = short.replace(old, mark)
        label, count = short, 1
        while label in labels:
            count += 1
            label = f"{short} ({count})"
        labels[label] = None
    return list(labels)


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of the values lie, between neighbours by straight line.

    >>> quantile([3.0, 1.0, 2.0], 0.5), quantile([1.0, 2.0], 0.5)
    (2.0, 1.5)
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))
