"""Random generators, each derived from (seed, round, client, purpose).

No generator is shared between two uses, so what one client draws never depends on which
clients ran before it, in which process, or in which order: that is what makes a simulation
and a real network give the same bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch


def derive_seed(seed: int, *, purpose: str, round: int = 0, client: str = "") -> int:
    """A 63-bit seed for one purpose, by SHA-256 over the four parts.

    >>> derive_seed(7, purpose="batches", round=1, client="client-0") == derive_seed(
    ...     7, purpose="batches", round=1, client="client-0")
    True
    >>> derive_seed(7, purpose="batches", round=1) == derive_seed(7, purpose="batches", round=2)
    False
    """
    text = f"{seed}\x1f{round}\x1f{client}\x1f{purpose}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def numpy_generator(
    seed: int, *, purpose: str, round: int = 0, client: str = ""
) -> np.random.Generator:
    """A numpy generator (PCG64) for one purpose.

    >>> int(numpy_generator(7, purpose="example").integers(100))
    93
    """
    import numpy as np

    return np.random.default_rng(derive_seed(seed, purpose=purpose, round=round, client=client))


def torch_generator(
    seed: int, *, purpose: str, round: int = 0, client: str = ""
) -> torch.Generator:
    """A CPU torch generator for one purpose."""
    import torch

    generator = torch.Generator()
    generator.manual_seed(derive_seed(seed, purpose=purpose, round=round, client=client))
    return generator


@contextmanager
def torch_seeded(seed: int, *, purpose: str, round: int = 0, client: str = "") -> Iterator[None]:
    """Run a block with torch's own generator seeded, and put it back afterwards.

    Weight initialisation and dropout draw from torch's global generator and take no other,
    so they run inside this block; the caller's own random state is left as it was.
    """
    import torch

    # torch.manual_seed would also queue a seed, with a stack trace, for every kind of device.
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(derive_seed(seed, purpose=purpose, round=round, client=client))
    try:
        yield
    finally:
        generator.set_state(state)
