"""Parts of the graphs of a run's clients, as these showed them to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .told import LeftOut, count_of, left_out_of, missing_of, read_told

if TYPE_CHECKING:
    from .data.subgraphs import Subgraph

FILE = "subgraphs.json"


@dataclass(frozen=True, eq=False)
class Subgraphs:
    """Parts of clients' graphs: the edges between some nodes, without features.

    Args:
        of: what a client's examples are, "nodes" of one graph or "graphs" of a set.
        classes: their names, in the order of their codes.
        parts: by client; the class codes in a part are -1 where they are not told.
        left_out: those that were asked and did not tell, and why. Names and texts come from
            clients: untrusted.

    >>> row = {"client": "a", "examples": 9, "links": 8, "nodes": [3], "edges": [[0, 1], [1, 2]]}
    >>> told = {"of": "nodes", "classes": ["x", "y"], "failures": [], "clients": [row]}
    >>> shown = Subgraphs.of_file({**told, "clients": [{**row, "codes": [0, 0, 1]}]})
    >>> shown.parts["a"].edges.tolist(), shown.homophily("a")
    ([[0, 1], [1, 2]], 0.5)
    """

    of: str
    classes: tuple[str, ...]
    parts: Mapping[str, Subgraph]
    left_out: LeftOut = ()

    def homophily(self, client: str) -> float | None:
        """The share of the edges shown whose ends are of the same class, of those whose ends both
        have one; None without such edges, and of graphs that are examples themselves."""
        from .data.homophily import edge_homophily

        part = self.parts[client]
        return None if self.of == "graphs" else edge_homophily(part.edges, part.y)

    @property
    def summary(self) -> str:
        """Who showed one, in one line."""
        return f"parts of graphs: shown by {count_of(self.parts)}{missing_of(self.left_out)}"

    @classmethod
    def of_file(cls, told: Mapping[str, Any]) -> Subgraphs:
        """What subgraphs.json holds; raises LookupError, TypeError or ValueError if it is not
        so."""
        classes = tuple(map(str, told["classes"]))
        parts = {str(row["client"]): _part(row, len(classes)) for row in told["clients"]}
        left_out = left_out_of(told)
        return cls(str(told["of"]), classes, parts, left_out)


def _part(row: Mapping[str, Any], classes: int) -> Subgraph:
    import numpy as np

    from .data.subgraphs import Subgraph

    nodes, codes = np.array(row["nodes"], np.int64), row["codes"]
    edges = np.array(row["edges"], np.int64).reshape(-1, 2)
    y = np.full(nodes.sum(), -1) if codes is None else np.array(codes, np.int64)
    if y.shape != (nodes.sum(),) or not ((y >= -1) & (y < classes)).all():
        raise ValueError("a node has no class code")
    if not ((edges >= 0) & (edges < len(y))).all():
        raise ValueError("an edge leads to a node that is not there")
    return Subgraph(nodes, edges, y, int(row["examples"]), int(row["links"]))


def read_subgraphs(folder: Path) -> Subgraphs | None:
    """A run folder's subgraphs.json, None where there is none; raises UmbelError for a damaged
    one."""
    return read_told(folder / FILE, Subgraphs.of_file)
