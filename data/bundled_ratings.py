"""The bundled ratings: people and the films that they rated, as a graph."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from .carriers import locate
from .graphs import graph_dataset
from .shard import Dataset
from .stacking import Graph

KINDS = ("user", "film")


def movielens(least: int = 10) -> Dataset:
    """671 people and the films that they rated, as a graph, no test part (GroupLens, for research).

    Its nodes are people, then films, and its edges the ratings, whatever they say: 81,915 of the
    2,245 films that have at least ten, of all 100,004 of 9,066. The classes are what a node is. A
    film's features are a one in its own place, so that a network's first layer learns a vector of
    each film; a person has none but the films.

    `least` is how many ratings a film must have; with 1, the features take 350 MB.

    Paper: Harper and Konstan 2015, The MovieLens Datasets: History and Context, doi 10.1145/2827872
    """
    folder = locate("movielens") / "data"
    table = _lazy_loaded(folder, "movielens")
    people, user = np.unique(np.asarray(table["userId"], np.int64), return_inverse=True)
    _, film = np.unique(np.asarray(table["movieId"], np.int64), return_inverse=True)
    kept = np.bincount(film) >= least
    if not kept.any():
        raise BadInput(f"data.source: movielens: least = {least}; no film has so many ratings")
    place = len(people) + np.cumsum(kept) - 1
    edges = np.stack([user, place[film]], axis=1)[kept[film]]
    count = int(kept.sum())
    x = np.zeros((len(people) + count, count), np.float32)
    x[len(people) :] = np.eye(count, dtype=np.float32)
    kinds = np.repeat([0, 1], [len(people), count])
    return graph_dataset("movielens", Graph(x, edges), kinds, classes=KINDS, where=str(folder))


def _lazy_loaded(folder: Path, name: str) -> Any:
    """A table of an R package: `Rdata.rdx` says where in `Rdata.rdb` it is, four bytes of length
    and a zlib stream (R Internals, section 1.9)."""
    try:
        import rdata
    except ImportError:
        raise BadInput(
            f"data.source: {name} is a table of R's and the package rdata is not installed; get "
            f"both with: umbel data fetch {name}"
        ) from None
    try:
        index = rdata.read_rds(folder / "Rdata.rdx")
        begin, length = map(int, index["variables"][name])
        packed = (folder / "Rdata.rdb").read_bytes()[begin : begin + length]
        parsed = rdata.parser.parse_data(zlib.decompress(packed[4:]), extension=".rds")
        return rdata.conversion.convert(parsed)
    except (OSError, KeyError, ValueError, zlib.error) as error:
        raise BadInput(f"{folder}: cannot be read as R's data: {error!r}") from None
