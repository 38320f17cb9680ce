"""Paradigms: what a client learns from its own shard; see `base` for the contract."""

from .base import (
    AbsorbsTotal,
    Batch,
    Descends,
    LocalRequest,
    LocalResult,
    LooksBeside,
    MetricSums,
    Paradigm,
    Prepared,
    SharesStatistics,
    UpdatesLocally,
)
from .supervised import Supervised

__all__ = [
    "AbsorbsTotal",
    "Batch",
    "Descends",
    "LocalRequest",
    "LocalResult",
    "LooksBeside",
    "MetricSums",
    "Paradigm",
    "Prepared",
    "SharesStatistics",
    "Supervised",
    "UpdatesLocally",
]
