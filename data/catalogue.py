"""What the data section of an experiment may name: the built-in data sets and partitioners.

Only strings, so that listing them imports nothing: each target is `"module:attribute"`.
"""

from __future__ import annotations

DATASETS: dict[str, str] = {
    "digits": "umbel.data.bundled:digits",
    "optdigits": "umbel.data.bundled:optdigits",
    "mnist": "umbel.data.bundled:mnist",
    "fashion-mnist": "umbel.data.bundled:fashion_mnist",
    "elpv": "umbel.data.bundled:elpv",
    "20newsgroups": "umbel.data.bundled_texts:newsgroups",
    "r8": "umbel.data.bundled_texts:r8",
    "r52": "umbel.data.bundled_texts:r52",
    "sentiment": "umbel.data.bundled_texts:sentiment",
    "bbbp": "umbel.data.bundled_molecules:bbbp",
    "bace": "umbel.data.bundled_molecules:bace",
    "clintox": "umbel.data.bundled_molecules:clintox",
    "hiv": "umbel.data.bundled_molecules:hiv",
    "solubility": "umbel.data.bundled_molecules:solubility",
    "movielens": "umbel.data.bundled_ratings:movielens",
    "synthetic": "umbel.data.synthetic:synthetic",
}
"""Factories `f(*, parameters) -> Dataset`; their docstrings open with meaning and licence."""

PARTITIONERS: dict[str, str] = {
    "iid": "umbel.data.partitioners:iid",
    "dirichlet": "umbel.data.partitioners:dirichlet",
    "pathological": "umbel.data.partitioners:pathological",
    "shards": "umbel.data.partitioners:shards",
    "linear": "umbel.data.partitioners:linear",
    "square": "umbel.data.partitioners:square",
    "exponential": "umbel.data.partitioners:exponential",
    "sizes": "umbel.data.partitioners:sizes",
    "natural": "umbel.data.partitioners:natural",
    "louvain": "umbel.data.communities:louvain",
    "scaffold": "umbel.data.scaffolds:scaffold",
    "bipartite": "umbel.data.bipartite:bipartite",
    "bootstrap": "umbel.data.bootstrap:bootstrap",
}
"""Factories `f(pool: Pool, *, parameters) -> Partition`."""
