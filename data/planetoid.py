"""Cora, CiteSeer and PubMed as PyTorch Geometric keeps them."""

from __future__ import annotations

import io
from contextlib import redirect_stderr
from pathlib import Path

import numpy as np

from ..errors import BadInput
from ..registry import nearest
from .graph_objects import from_pyg
from .shard import UNLABELLED, Dataset
from .sources import Source

_NAMES = ("Cora", "CiteSeer", "PubMed")
_PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
_ROOT = "~/.cache/umbel/planetoid"


def load_planetoid(source: Source) -> Dataset:
    """`planetoid:Cora`: one graph of papers and citations, with the public split as roles.

    Options: `root` (the folder that holds `Cora/raw`, default ~/.cache/umbel/planetoid) and
    `download=true` (fetch it there first). Its published files are pickles, which PyTorch
    Geometric opens.

    Paper: Yang et al. 2016, Revisiting Semi-Supervised Learning with Graph Embeddings, arXiv
    1603.08861
    """
    options = source.take(("root", "download"))
    where = f"data.source: {source.text}"
    if source.name not in _NAMES:
        raise BadInput(f"{where}: no such graph{nearest(source.name, _NAMES)}")
    try:
        from torch_geometric.datasets import Planetoid
    except ImportError as error:
        raise BadInput(
            f"{where}: is read with torch_geometric, which is not there ({error}); install it "
            "with: pip install umbel[graph]"
        ) from None
    root = Path(options.get("root", _ROOT)).expanduser()
    folder = root / source.name / "raw"
    files = [f"ind.{source.name.lower()}.{part}" for part in _PARTS]
    absent = [name for name in files if not (folder / name).is_file()]
    if absent and options.get("download", "false").lower() != "true":
        raise BadInput(f"{where}: {folder} has no {absent[0]}; set root=, or download=true")
    try:
        with redirect_stderr(io.StringIO()):  # it tells there how far it is
            found = Planetoid(str(root), source.name)[0]
        # It takes papers that were published without a label for the first class.
        found.y[_unpublished(folder / files[-1])] = UNLABELLED
    except Exception as error:  # noqa: BLE001 - the library raises what its readers raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadInput(f"{where}: cannot be loaded from {folder}: {reason}") from None
    return from_pyg(found, name=source.name)


def _unpublished(index: Path) -> np.ndarray:
    """Rows between those to test of which there are neither features nor a label: CiteSeer has 15.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "test.index"
    >>> _ = path.write_text("7\\n4\\n5\\n")
    >>> _unpublished(path).tolist()
    [6]
    """
    rows = np.loadtxt(index, dtype=np.int64, ndmin=1)
    return np.setdiff1d(np.arange(rows.min(), rows.max() + 1), rows)
