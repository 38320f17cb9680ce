"""Bundled data sets, where this machine has them."""

from __future__ import annotations

import pytest

from umbel.data import Dataset, carriers, load_dataset
from umbel.errors import BadInput


def carried(name: str) -> Dataset:
    """A bundled set, skipped where `umbel data fetch` (part of `make test`) was not run."""
    try:
        carriers.locate(name)
    except BadInput as error:
        pytest.skip(str(error))
    return load_dataset(name)
