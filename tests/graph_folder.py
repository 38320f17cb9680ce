"""Folders of tables that tell a graph, or a set of graphs."""

from __future__ import annotations

from pathlib import Path


def folder(path: Path, **tables: str) -> str:
    """Write `nodes.csv`, `edges.csv` and the like; their folder, as a data source."""
    path.mkdir(exist_ok=True)
    for name, text in tables.items():
        (path / f"{name}.csv").write_text(text)
    return str(path)
