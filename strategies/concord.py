"""Which parts cannot work together, and why."""

from __future__ import annotations

from typing import Any

from .combine import WeightedMean
from .dynamic import DynamicRegulariser, DynamicStep
from .extrapolate import Extrapolated
from .fair import FairMean
from .local_parts import Local, absorbs, parts_of
from .nova import NormalisedMean
from .parts import AsksServer, Combine, Step
from .proximal import Proximal
from .step import Replace

MEANS = (WeightedMean, NormalisedMean, Extrapolated, FairMean)
"""Rules that keep no client out, so that what is sent beside the updates may be averaged too."""


def discord(local: Local, combine: Combine[Any], step: Step, extra: Combine[Any] | None) -> str:
    """Why parts cannot work together; empty where they can.

    >>> discord(DynamicRegulariser(0.1), WeightedMean(), Replace(), None)[:53]
    "FedDyn's regulariser at the clients and its step at t"
    """
    return _unruled(local, combine, extra) or _apart(local, step) or _misjudged(local, combine)


def unclusterable(local: Local, combine: Combine[Any], step: Step) -> str:
    """Why parts cannot work on several models, one a cluster; empty where they can.

    >>> unclusterable(DynamicRegulariser(0.1), WeightedMean(), DynamicStep(0.1))[:22]
    'clusters: each has the'
    """
    if type(combine) is WeightedMean and type(step) is Replace and not absorbs(local):
        return ""
    return (
        "clusters: each has the mean of its own clients' models, and takes WeightedMean, Replace "
        "and no local part that all clients share something through"
    )


def _unruled(local: Local, combine: Combine[Any], extra: Combine[Any] | None) -> str:
    """What clients send beside their updates needs a rule, and one that can look at it."""
    if isinstance(extra, AsksServer):
        return (
            f"extra: {type(extra).__name__} tries models on the server's examples, and what "
            "clients send beside their updates is no model"
        )
    if absorbs(local) and extra is None and not isinstance(combine, MEANS):
        return (
            f"{type(local).__name__} with {type(combine).__name__}: no rule is given for what "
            "the clients send beside their updates, and their mean would let in what that rule "
            "keeps out; give a rule for that too, as extra"
        )
    return ""


def _apart(local: Local, step: Step) -> str:
    """FedDyn is one regulariser in two halves."""
    own = {part.alpha for part in parts_of(local) if isinstance(part, DynamicRegulariser)}
    if own == ({step.alpha} if isinstance(step, DynamicStep) else set()):
        return ""
    return (
        "FedDyn's regulariser at the clients and its step at the server belong together, with "
        "one alpha: take both from feddyn, as local and as step"
    )


def _misjudged(local: Local, combine: Combine[Any]) -> str:
    """FedNova reckons how far a client's steps go, which a term in its loss may change."""
    if not isinstance(combine, NormalisedMean):
        return ""
    if any(isinstance(part, DynamicRegulariser) for part in parts_of(local)):
        return "FedNova cannot reckon how far a client's steps go beside FedDyn's regulariser"
    held = [part.mu for part in parts_of(local) if isinstance(part, Proximal) and part.mu != 0]
    if held == ([combine.mu] if combine.mu else []):
        return ""
    return (
        "FedNova divides by how far a client's steps go, which FedProx's term changes: give both "
        "the same constant mu"
    )
