"""Which classes the model takes for which, at all clients and at each, as plots of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..confusion import Confusion
from ..rounds import natural
from .report_clients import unique_labels
from .report_figures import COLOURS, Figure, Trace

if TYPE_CHECKING:
    import numpy as np

CLASSES_MOST = 30
"""Of more classes, the commonest mistakes are shown in place of all."""

WRITTEN_MOST = 12
"""Of so many classes, the counts are written in."""

MISTAKES_MOST = 20
CLIENTS_MOST = 100


def confusions(confusion: Confusion | None) -> list[Figure]:
    """A figure of all clients together, and one of each, chosen from a list."""
    if confusion is None or not confusion.counts or not confusion.classes:
        return []
    classes = unique_labels(confusion.classes)
    names = sorted(confusion.counts, key=natural)[:CLIENTS_MOST]
    counts = [confusion.of(name) for name in names]
    draw = _matrices if len(classes) <= CLASSES_MOST else _mistakes
    title = "Confusion of classes at all clients"
    figures = [draw(title, classes, [confusion.total])]
    if len(names) == 1:
        return figures
    each = draw("Confusion of classes at each client", classes, counts)
    left = len(confusion.counts) - len(names)
    note = each.note + (f" {left} more clients are in confusion.json." if left else "")
    changing = ("z", "text") if draw is _matrices else ("x", "y")
    layout = {**each.layout, "updatemenus": [_menu(unique_labels(names), each.data, changing)]}
    layout["margin"] = {"l": 48, "r": 12, "t": 48, "b": 40}
    return [*figures, Figure(each.title, each.data[:1], note, layout, each.height + 36)]


def _menu(labels: Sequence[str], traces: Sequence[Trace], changing: Sequence[str]) -> Any:
    """A list that puts what changes from one trace to another into the first of them."""
    buttons = [
        {
            "label": label,
            "method": "restyle",
            "args": [{key: [trace[key]] for key in changing}, [0]],
        }
        for label, trace in zip(labels, traces, strict=True)
    ]
    place = {"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    return {"type": "dropdown", "buttons": buttons, "showactive": True, **place}


def _matrices(title: str, classes: Sequence[str], counts: Sequence[np.ndarray]) -> Figure:
    """Heat maps by true class (rows) and told class (columns)."""
    traces: list[Trace] = []
    for found in counts:
        of_class = found.sum(axis=1)
        shares = (found / of_class.clip(min=1)[:, None]).round(4).tolist()
        some = zip(shares, of_class.tolist(), strict=True)
        known = [row if total else [None] * len(row) for row, total in some]
        traces.append(
            {
                "type": "heatmap",
                "x": list(classes),
                "y": list(classes),
                "z": known,
                "text": found.tolist(),
                "texttemplate": "%{text}" if len(classes) <= WRITTEN_MOST else "",
                "zmin": 0,
                "zmax": 1,
                "colorscale": [[0, "#f3f6fb"], [0.5, "#6fa0e6"], [1, "#12357f"]],
                "colorbar": {"thickness": 10, "outlinewidth": 0, "tickformat": ".0%"},
                "xgap": 1,
                "ygap": 1,
                "hovertemplate": "%{y} told as %{x}: %{text} (%{z:.1%})<extra></extra>",
                "hoverongaps": False,
            }
        )
    axis = {"type": "category", "showgrid": False}
    layout = {
        "xaxis": {**axis, "title": {"text": "told class"}},
        "yaxis": {**axis, "title": {"text": "true class"}, "autorange": "reversed"},
    }
    note = "Held-out examples by true class; a colour is the share of a row. Empty: there are none."
    return Figure(title, traces, note, layout, max(320, 18 * len(classes) + 110))


def _mistakes(title: str, classes: Sequence[str], counts: Sequence[np.ndarray]) -> Figure:
    """Bars of the commonest mistakes, of more classes than a heat map is readable with."""
    traces: list[Trace] = []
    for found in counts:
        wrong = [(int(found[i, j]), i, j) for i, j in zip(*found.nonzero(), strict=True) if i != j]
        wrong.sort(key=lambda mistake: (-mistake[0], *mistake[1:]))
        shown = wrong[:MISTAKES_MOST]
        traces.append(
            {
                "type": "bar",
                "orientation": "h",
                "x": [count for count, _, _ in shown],
                "y": [f"{classes[i]} told as {classes[j]}" for _, i, j in shown],
                "marker": {"color": COLOURS[0], "line": {"width": 0}},
                "hovertemplate": "%{y}: %{x}<extra></extra>",
            }
        )
    layout = {
        "xaxis": {"title": {"text": "held-out examples"}, "rangemode": "tozero"},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
    }
    note = f"The commonest mistakes, at most {MISTAKES_MOST}; all counts are in confusion.json."
    return Figure(title, traces, note, layout, height=22 * MISTAKES_MOST + 70)
