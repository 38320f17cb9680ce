"""What clients told of their graphs before round 1, as plots of a run's report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..messages import EDGE_COUNT, HOMOPHILY
from ..rounds import natural, number
from .report_clients import of_each, unique_labels
from .report_figures import Figure

_MEANING = (
    "The share of a client's edges that link nodes of one class, of those whose ends both have one."
)


def graphs(environment: Mapping[str, Any]) -> list[Figure]:
    """The edges and the homophily of each client that told them; none where nobody did."""
    rows: Mapping[str, Mapping[str, Any]] = environment.get("graphs") or {}
    names = sorted(rows, key=natural)
    labels = dict(zip(names, unique_labels(names), strict=True))

    def told(key: str) -> dict[str, float]:
        found = {name: number(rows[name].get(key)) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    figures, links, same = [], told(EDGE_COUNT), told(HOMOPHILY)
    if links:
        figures.append(of_each("Edges of each client", links, labels, "%{x}: %{y} edges"))
    if same:
        bars = of_each("Homophily of each client", same, labels, "%{x}: %{y:.4~g}")
        layout = {**bars.layout, "yaxis": {"range": [0, 1]}}
        figures.append(replace(bars, note=f"{_MEANING} {bars.note}".strip(), layout=layout))
    return figures
