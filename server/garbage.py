"""Frees what large requests leave behind in a SuperLink's process.

The web framework under Flower's application ties every request, with its body twice, into a
circle of references. Python looks for such circles by the number of objects, of which there are
few, and not by their bytes: several times what is stored would lie about.
"""

from __future__ import annotations

import gc

COLLECT_BYTES = 16 * 2**20
"""It is looked for garbage whenever requests have moved so much."""


class Garbage:
    """Collects garbage by the bytes that have passed."""

    def __init__(self) -> None:
        # What is there from the start stays, and need not be looked at again each time.
        gc.collect()
        gc.freeze()
        self._passed = 0

    def passed(self, count: int) -> None:
        """Note that a request with so many bytes in it has been dealt with."""
        self._passed += count
        if self._passed >= COLLECT_BYTES:
            self._passed = 0
            gc.collect()
