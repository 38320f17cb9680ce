"""Six clients with the digits, two of which call every digit by another's name."""

from __future__ import annotations

import numpy as np

from umbel.data import Dataset, load_dataset

OTHERS = (1, 4)
CLIENTS = 6


def data() -> Dataset:
    """Each client's share is a sixth; others' labels are five further on."""
    digits = load_dataset("digits")
    owners = np.arange(len(digits.train["y"])) % CLIENTS
    labels = np.where(np.isin(owners, OTHERS), (digits.train["y"] + 5) % 10, digits.train["y"])
    return Dataset("two kinds", digits.schema, {**digits.train, "y": labels}, None, owners)
