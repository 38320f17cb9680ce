"""The row of `graphs.py` about a graph that takes much memory."""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from graph_figures import Setting
from graph_nodes import nodes

import umbel

MEMORY = 2e9


def large(setting: Setting) -> list[str]:
    """What this process takes at most, by the system's count."""
    generator = np.random.default_rng(0)
    count = 100_000
    path = setting.out / "large.npz"
    setting.out.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        x=generator.normal(size=(count, 32)).astype(np.float32),
        y=generator.integers(10, size=count),
        edges=generator.integers(count, size=(10 * count, 2)),
    )
    told = nodes(
        path,
        0,
        1,
        data={"clients": 1},
        model={"name": "graphsage"},
        paradigm={"name": "nodes", "neighbours": [10, 5]},
        client={"epochs": 1, "batch_size": 512},
    )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        umbel.simulate(told, out=Path(folder) / "run")
    seconds = time.perf_counter() - began
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"100,000 nodes, a million edges: one round in {seconds:.0f} s, {peak / 1e9:.2f} GB")
    return [f"large: {peak / 1e9:.2f} GB, not below 2"] if peak >= MEMORY else []
