"""Drawings of clients' graphs: some of the nodes, and the edges between them."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from .shard import ShardSource
from .subgraphs import laid_out, sampled

if TYPE_CHECKING:
    from matplotlib.figure import SubFigure

MOST_GRAPHS = 24
"""So many clients' graphs are drawn."""

_INCHES = 2.3


def graphs_height(clients: int, width: float) -> float:
    """How high the drawings of so many clients' graphs are, in inches."""
    return _INCHES * ceil(min(clients, MOST_GRAPHS) / _columns(width))


def draw_graphs(
    figure: SubFigure, source: ShardSource, clients: np.ndarray, colours: Sequence[Any]
) -> None:
    """Draw for each of some clients, 24 at most, what a report shows of its graph, or of its set
    of graphs, nodes by the colours of their classes."""
    columns = _columns(figure.get_figure(root=True).get_size_inches()[0])
    drawn = clients[:MOST_GRAPHS]
    axes = figure.subplots(ceil(len(drawn) / columns), columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for index, place in zip(drawn, axes, strict=False):
        shard = source.shard(int(index))
        shown = sampled(shard.arrays, shard.client)
        where = laid_out(shown.edges, len(shown.y))
        for one, other in shown.edges:
            place.plot(*where[[one, other]].T, color="#b9bec5", linewidth=0.5, zorder=1)
        chosen = [colours[code] for code in shown.y]
        place.scatter(*where.T, c=chosen, s=9, zorder=2, linewidths=0)
        place.set_title(f"client {index}", fontsize="small", loc="left")


def _columns(width: float) -> int:
    return max(1, int(width / _INCHES))
