"""Parts of the clients' graphs, as a plot of a run's report."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from ..data.subgraphs import laid_out
from ..rounds import natural
from ..subgraphs import Subgraphs
from .report_classes import by_class
from .report_clients import unique_labels
from .report_figures import Figure, Trace

if TYPE_CHECKING:
    import numpy as np

CLIENTS_MOST = 12
COLUMNS = 4
ROW = 300
"""How high a client's graph is, in pixels."""

_STEP = 1.15
"""From one graph's unit square to the next's."""


def drawn(found: Subgraphs | None) -> list[Figure]:
    """The graphs side by side in one plot, the nodes coloured by class; none where nobody shows
    one."""
    if found is None or not found.parts:
        return []
    names = sorted(found.parts, key=natural)[:CLIENTS_MOST]
    columns = min(COLUMNS, len(names))
    links: Trace = {"x": [], "y": []}
    places: list[list[float]] = []
    codes: list[int] = []
    notes: list[dict[str, Any]] = []
    for k, (name, label) in enumerate(zip(names, unique_labels(names), strict=True)):
        part = found.parts[name]
        corner = _STEP * (k % columns), -_STEP * (k // columns)
        where = laid_out(part.edges, len(part.y)) + corner
        _add_links(links, where[part.edges])
        places += where.tolist()
        codes += part.y.tolist()
        notes.append(_title(f"<b>{label}</b><br>{_told(found, name)}", corner))
    rows = ceil(len(names) / columns)
    axis = {"visible": False, "fixedrange": True}
    layout = {
        "xaxis": {**axis, "range": [-0.05, _STEP * columns - 0.1]},
        "yaxis": {**axis, "range": [-_STEP * (rows - 1) - 0.05, 1.15], "scaleanchor": "x"},
        "annotations": notes,
        "margin": {"l": 8, "r": 8, "t": 36, "b": 8},
        "hovermode": "closest",
    }
    data = [_edges(links), *_nodes(found, places, codes)]
    title = "Parts of the clients' graphs" if found.of == "nodes" else "Graphs of the clients"
    return [Figure(title, data, _note(found, len(names)), layout, ROW * rows + 44)]


def _nodes(found: Subgraphs, places: list[list[float]], codes: list[int]) -> list[Trace]:
    classes = unique_labels(found.classes)
    names = [*classes, "no class told"]
    # The last name stands for -1 at both ends of the list.
    said = [names[code] for code in codes]
    marker = {"size": 5, "line": {"width": 0}}
    known = [row for row, code in enumerate(codes) if code >= 0]
    others = [row for row, code in enumerate(codes) if code < 0]
    traces = by_class(
        [places[row] for row in known],
        [codes[row] for row in known],
        [said[row] for row in known],
        classes,
        marker,
    )
    none = [places[row] for row in others]
    grey = by_class(none, [0] * len(none), [names[-1]] * len(none), names[-1:], marker)
    return [*traces, *({**trace, "marker": {**marker, "color": "#aeb5bf"}} for trace in grey)]


def _add_links(links: Trace, ends: np.ndarray) -> None:
    """Take in edges by the places (m, 2, 2) of their ends; None parts a line from the next."""
    for axis, name in enumerate("xy"):
        for first, second in ends[:, :, axis].tolist():
            links[name] += [first, second, None]


def _edges(links: Trace) -> Trace:
    style = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False}
    return {**style, **links, "name": "edges", "line": {"color": "#c9d0d9", "width": 1}}


def _title(text: str, corner: tuple[float, float]) -> dict[str, Any]:
    place = {"x": corner[0], "y": corner[1] + 1.0, "xanchor": "left", "yanchor": "bottom"}
    return {**place, "text": text, "showarrow": False, "align": "left", "font": {"size": 11}}


def _told(found: Subgraphs, client: str) -> str:
    """What is shown of a client's graph, in words."""
    part, same = found.parts[client], found.homophily(client)
    shown = len(part.y) if found.of == "nodes" else len(part.nodes)
    said = f"{shown:,} of {part.examples:,} {found.of}, {len(part.edges):,} of {part.links:,} edges"
    return said + (f"<br>homophily {same:.2f}" if same is not None else "")


def _note(found: Subgraphs, clients: int) -> str:
    said = ["Nodes and the edges between them, without features; lengths mean nothing."]
    if any(found.homophily(name) is not None for name in found.parts):
        said.append("Homophily is the share of the edges shown that link nodes of one class.")
    if more := len(found.parts) - clients:
        said.append(f"{more} more clients are in subgraphs.json.")
    if found.left_out:
        said.append(f"{len(found.left_out)} that were asked show none.")
    return " ".join(said)
