"""The server's test examples on a plane, as a plot of a run's report."""

from __future__ import annotations

from ..embeddings import Embeddings
from .report_classes import by_class
from .report_clients import unique_labels
from .report_figures import Figure


def embedded(found: Embeddings | None) -> list[Figure]:
    """A point for each example, coloured by its true class."""
    if found is None or not len(found.points):
        return []
    classes = unique_labels(found.classes)
    truth, told = found.truth.tolist(), found.told.tolist()
    said = [
        f"{classes[true]}, told as {classes[code]}" for true, code in zip(truth, told, strict=True)
    ]
    marker = {"size": 6, "opacity": 0.75, "line": {"width": 0}}
    traces = by_class(found.points.tolist(), truth, said, classes, marker)
    shares = [f"{share:.0%}" for share in found.explained]
    layout = {
        f"{axis}axis": {"title": {"text": f"component {k + 1} ({shares[k]} of the variance)"}}
        for k, axis in enumerate("xy")
    }
    drawn = "" if len(found.points) == found.examples else f" of {found.examples:,}"
    note = (
        f"{len(found.points):,}{drawn} test examples of the server's: the {found.width:,} numbers "
        "that the model's last layer is given of each, by their two principal components."
    )
    return [Figure("Test examples by what the model makes of them", traces, note, layout, 480)]
