"""Whether a strategy's combining rule can work with the cohorts of an experiment."""

from __future__ import annotations

import numpy as np

from .parts import AsksServer, EndsEarly, Selection
from .strategy import Strategy


def cohort_faults(strategy: object, clients: int, *, server_examples: bool) -> list[str]:
    """What keeps a strategy of umbel's from combining what so many clients send, a phrase each.

    `server_examples` says whether the server has examples of its own.

    >>> from .krum import Krum
    >>> cohort_faults(Strategy(combine=Krum(byzantine=1)), 10, server_examples=False)
    []
    """
    if not isinstance(strategy, Strategy):
        return []
    faults = []
    if isinstance(strategy.combine, AsksServer) and not server_examples:
        faults.append(f"name: {strategy.name} needs examples of the server's own; set data.server")
    expected = _expected(strategy, clients)
    fault = "" if expected is None else strategy.lacks(expected)
    return [*faults, fault] if fault else faults


def _expected(strategy: Strategy, clients: int) -> int | None:
    """How many updates the first round's selection asks for; None where it fails, which the
    run will tell with its place."""
    try:
        if isinstance(strategy.select, EndsEarly):
            return strategy.select.enough(clients)
        return len(strategy.select(Selection(1, clients, np.random.default_rng(0))))
    except Exception:  # noqa: BLE001  # A selection of the user's may raise anything.
        return None
