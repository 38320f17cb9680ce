"""The modules that PyTorch Geometric writes for its layers, kept in memory and not in files."""

from __future__ import annotations

import linecache
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from torch import nn

WRITTEN = ("propagate", "edge_updater")
"""Of which methods of a layer it writes a module of their own."""


def keep_sources(conv: nn.Module) -> None:
    """Delete what was written of a layer. PyTorch Geometric (2.8, `template.py`) writes a module of
    each kind of layer into the temporary folder, imports it, and leaves it there for good.

    Now, and not at the process's end, which a killed or forked one does not come to. Tracebacks,
    `inspect` and TorchScript find the source where Python looks for it first, in `linecache`.
    """
    kind = type(conv)
    for method in WRITTEN:
        module = sys.modules.get(f"{kind.__module__}_{kind.__name__}_{method}")
        # One without it is still being imported, by a thread that will come here, too.
        if module is not None and hasattr(module, method):
            _keep(module)


def _keep(module: ModuleType) -> None:
    path = Path(module.__file__ or "")
    if not path.is_file():
        return
    source = path.read_text("utf-8")
    # Without a time it is not looked for on disk again.
    linecache.cache[str(path)] = (len(source), None, source.splitlines(keepends=True), str(path))
    path.unlink(missing_ok=True)
    compiled = module.__spec__.cached if module.__spec__ else None
    if compiled:
        Path(compiled).unlink(missing_ok=True)
        with suppress(OSError):  # It may hold what others compiled.
            Path(compiled).parent.rmdir()
