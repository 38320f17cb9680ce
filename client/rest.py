"""The tensors that a round's messages leave out: made here, kept from before, or asked for."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UmbelError
from ..tensors import Tensors, difference, digest, read_tensors, write_tensors
from .workbench import Workbench

FOLDER = ".rest"
"""Where they are kept in a client's state folder, by their hash; no run can be called so."""

KEPT = 4
"""So many are kept; the eldest go."""

_DIGEST = re.compile(r"[0-9a-f]{64}")


def settle(bench: Workbench, wanted: object, sent: Tensors | None, folder: Path) -> bool:
    """Have the model's tensors that do not travel be those of a hash; whether they now are.

    Args:
        bench: has the model.
        wanted: the hash that the message names; None where everything travels.
        sent: the tensors, where the message has them.
        folder: the client's state folder.

    Raises UmbelError where the message has other tensors than it says.
    """
    if wanted is None or wanted == bench.rest_digest:
        return True
    if not isinstance(wanted, str) or not _DIGEST.fullmatch(wanted):
        raise UmbelError("the message names what it leaves out by no hash")
    path = folder / FOLDER / f"{wanted}.safetensors"
    if sent is None:
        found = _read(path)
        if found is None or _fault(bench, found, wanted):
            return False
        bench.take_rest(found, wanted)
        return True
    fault = _fault(bench, sent, wanted)
    if fault:
        raise UmbelError(f"the part of the model that does not travel does not fit: {fault}")
    bench.take_rest(sent, wanted)
    _keep(path, sent)
    return True


def _fault(bench: Workbench, found: Tensors, wanted: str) -> str:
    return difference(found, bench.rest()) or ("" if digest(found) == wanted else "another hash")


def _read(path: Path) -> Tensors | None:
    try:
        return read_tensors(path)[0]
    except (OSError, ValueError):
        return None


def _keep(path: Path, tensors: Tensors) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    write_tensors(path, tensors)
    kept = sorted(path.parent.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)
    for old in kept[:-KEPT]:
        old.unlink(missing_ok=True)
