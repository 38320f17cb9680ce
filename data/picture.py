"""A picture of a partition: how many examples of each class every client holds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput
from .graph_picture import draw_graphs, graphs_height
from .rows import EDGES
from .shard import UNLABELLED, ShardSource
from .sharding import PartitionedShards

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

MOST_CLIENTS = 200
_MOST_CLASSES_IN_LEGEND = 20
_UNLABELLED_COLOUR = "#d5d8dc"
# Ten colours told apart at a glance, none of them grey, which stands for no label.
_TEN_COLOURS = (
    "#4269d0",
    "#efb118",
    "#ff725c",
    "#6cc5b0",
    "#3ca951",
    "#ff8ab7",
    "#a463f2",
    "#97bbf5",
    "#9c6b4e",
    "#1b2a41",
)


def class_counts(source: ShardSource, indices: np.ndarray) -> np.ndarray:
    """Examples by client and class, (clients, classes + 1); the last column is unlabelled."""
    classes = len(source.schema.classes)
    rows = []
    for index in map(int, indices):
        if isinstance(source, PartitionedShards):
            labels = source.codes(index)
        else:
            labels = source.shard(index).arrays["y"]
        codes = np.where(labels == UNLABELLED, classes, labels)
        rows.append(np.bincount(codes, minlength=classes + 1))
    return np.stack(rows)


def evenly_spread(population: int) -> np.ndarray:
    """The indices of at most 200 of so many clients, ascending."""
    return np.unique(np.linspace(0, population - 1, min(population, MOST_CLIENTS)).astype(int))


def plot_partition(source: ShardSource, path: str | os.PathLike[str]) -> Path:
    """Draw one stacked bar a client and write the picture to `path` (PNG, SVG or PDF). Of graphs,
    some of each client's nodes and the edges between them are drawn below.

    Of more than 200 clients, 200 evenly spread ones are drawn and the title says so. Raises
    BadInput for a suffix that matplotlib cannot write, or where matplotlib is missing.
    """
    target = Path(path)
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise BadInput(
            "partition --plot: the package matplotlib is not installed; "
            "install it with: pip install matplotlib"
        ) from None
    population = len(source)
    shown = evenly_spread(population)
    counts = class_counts(source, shown)
    width = float(np.clip(2.6 + 0.34 * len(shown), 7.0, 15.0))
    graphs = EDGES in source.shard(0).arrays
    figure = Figure(figsize=(width, 4.6), dpi=150, layout="constrained")
    if target.suffix.lower()[1:] not in FigureCanvasAgg(figure).get_supported_filetypes():
        raise BadInput(f"{target}: cannot write a picture of this type; use .png, .svg or .pdf")
    part: Figure | SubFigure = figure
    colours = class_colours(len(source.schema.classes))
    if graphs:
        below = graphs_height(len(shown), width)
        figure.set_size_inches(width, 4.6 + below)
        part, lower = figure.subfigures(2, 1, height_ratios=[4.6, below], squeeze=False).ravel()
        draw_graphs(lower, source, shown, colours)
    axes = part.add_subplot()
    _draw_bars(axes, counts, source.schema.classes, colours)
    _label_axes(axes, source, shown, counts)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(suffix=target.suffix, dir=target.parent)
    os.close(handle)
    try:
        figure.savefig(partial)
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    return target


def class_colours(classes: int) -> list[Any]:
    """A colour for each of so many classes, and the last for no label."""
    from matplotlib import colormaps

    if classes <= len(_TEN_COLOURS):
        return [*_TEN_COLOURS[:classes], _UNLABELLED_COLOUR]
    shades = colormaps["turbo"](np.linspace(0.03, 0.97, classes))
    return [*shades, _UNLABELLED_COLOUR]


def _draw_bars(
    axes: Axes, counts: np.ndarray, classes: tuple[str, ...], colours: Sequence[Any]
) -> None:
    clients = np.arange(len(counts))
    bottom = np.zeros(len(counts), dtype=int)
    # One bar touches the next where there are many: gaps would only make stripes.
    width = 0.82 if len(counts) <= 60 else 1.0
    for code, name in enumerate((*classes, "unlabelled")):
        column = counts[:, code]
        if not column.any():
            continue
        axes.bar(
            clients, column, width, bottom=bottom, color=colours[code], label=name, linewidth=0
        )
        bottom += column
    drawn = len(axes.get_legend_handles_labels()[1])
    if 0 < drawn <= _MOST_CLASSES_IN_LEGEND:
        axes.legend(
            title="class",
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            frameon=False,
            reverse=True,  # the legend reads in the order of the stack
        )


def _label_axes(axes: Axes, source: ShardSource, shown: np.ndarray, counts: np.ndarray) -> None:
    most_ticks = 25 if len(source) <= 1000 else 10
    step = int(np.ceil(len(shown) / most_ticks))
    ticks = np.arange(0, len(shown), step)
    axes.set_xticks(ticks, [f"{shown[tick]:,}" for tick in ticks])
    axes.set_xlim(-0.6, len(shown) - 0.4)
    axes.set_xlabel("client")
    axes.set_ylabel("examples")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="x", length=0)
    sizes = counts.sum(axis=1)
    few = "" if len(shown) == len(source) else f"{len(shown):,} of "
    low, high = f"{sizes.min():,}", f"{sizes.max():,}"
    span = low if low == high else f"{low} to {high}"
    axes.set_ylim(0, 1.05 * sizes.max())
    axes.set_title(f"{few}{len(source):,} clients, {span} examples each", loc="left")
