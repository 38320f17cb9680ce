"""Turns away what a site's policy does not allow, before anything is built or trained for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch

from ..building import build_paradigm
from ..data.shard import Shard
from ..errors import BadInput, Declined
from ..experiment import Experiment
from ..messages import GAIN, SHOW
from ..paradigms.base import AddsExamples, Paradigm
from ..paradigms.peers import peers_of
from ..schema import Schema
from ..tensors import Tensors, nbytes
from .policy import Policy, allowed
from .state import is_safe_name

LAST_ROUND = 10**9
"""A round names the file of what a client keeps."""

LONGEST_EXPERIMENT = 64_000
"""Letters of an experiment's text, which needs a few thousand: a list of many thousand layers would
keep a client busy before anything else could be checked."""


def admit(
    policy: Policy,
    kind: str,
    header: Mapping[str, Any],
    groups: Mapping[str, Tensors],
    shard: Shard,
) -> None:
    """Raise Declined, with the reason, if a message asks for more than a policy allows.

    Args:
        policy: the site's.
        kind: `query`, `query.offer`, `query.tell`, `query.show`, `train` or `evaluate`.
        header: the message's.
        groups: the message's tensors.
        shard: what the site holds.
    """
    if kind == "query":
        return
    run = header.get("run")
    if not isinstance(run, str) or not is_safe_name(run):
        raise Declined(f"{run!r} is not the name of a run (letters, digits, '.', '_', '-')")
    round = header.get("round")
    if type(round) is not int or not 0 < round <= LAST_ROUND:
        raise Declined(f"{str(round)[:40]!r} is not a round (a whole number from 1)")
    text = str(header.get("experiment"))
    if len(text) > LONGEST_EXPERIMENT:
        raise Declined(f"the experiment is longer than {LONGEST_EXPERIMENT} letters")
    experiment = _experiment(text)
    reason = _names(policy, experiment, header.get("strategy")) or _peers(policy, text)
    if kind == "train" or header.get(GAIN):
        reason = reason or _effort(policy, experiment, len(shard), _added(text))
    reason = reason or _leaving(policy, kind, groups.get("model", {}))
    reason = reason or _size(policy, text, shard.schema)
    if reason:
        raise Declined(reason)


@lru_cache(maxsize=4)
def _experiment(text: str) -> Experiment:
    """Every message of a run brings the same text."""
    return Experiment.from_json(text)


@lru_cache(maxsize=4)
def _paradigm(text: str) -> Paradigm:
    """To ask what it would do; nothing trains with it."""
    return build_paradigm(_experiment(text), told=True)


def _names(policy: Policy, experiment: Experiment, strategy: object) -> str:
    """The strategy is told apart from the experiment, which holds only a client's part of it."""
    used = {
        "paradigm": experiment.paradigm.name,
        "strategy": experiment.strategy.name,
        "model": experiment.model.name,
        "optimizer": experiment.client.optimizer.name,
        "schedule": experiment.client.schedule.name,
    }
    told = {"strategy": strategy} if isinstance(strategy, str) else {}
    return allowed(policy, used | told) or allowed(policy, used)


def _effort(policy: Policy, experiment: Experiment, shard: int, added: int) -> str:
    """Epochs and steps are held to both limits whichever of them the experiment names, and few
    steps on small batches to the fewest examples: they would give away those of a handful. What is
    `added` to the site's own is gone through with them, and may be all that few steps see."""
    limits, client = policy.limits, experiment.client
    examples = shard - min(round(experiment.data.held_out * shard), max(0, shard - 1))
    whole = examples + added
    batch = min(client.batch_size or whole, whole) or 1
    steps = client.steps or client.epochs * math.ceil(whole / batch)
    epochs = client.epochs if client.steps is None else math.ceil(steps * batch / max(1, whole))
    for name, asked, limit in (
        ("max_epochs", epochs, limits.max_epochs),
        ("max_steps", steps, limits.max_steps),
    ):
        if limit is not None and asked > limit:
            return f"{asked} {name[4:]} a round are more than limits.{name} ({limit})"
    if min(examples, steps * batch - added) < limits.min_examples:
        least = limits.min_examples
        return f"the update would be of fewer examples than limits.min_examples ({least})"
    return ""


def _peers(policy: Policy, text: str) -> str:
    if policy.leave.peers or not _lends(text):
        return ""
    return "an update does not go on to other clients (leave.peers)"


def _lends(text: str) -> bool:
    """Whether an experiment has the server lend clients one another's models."""
    return peers_of(_paradigm(text)) is not None


def _added(text: str) -> int:
    """How many examples an experiment has trained on beside a client's own."""
    paradigm = _paradigm(text)
    return paradigm.added if isinstance(paradigm, AddsExamples) else 0


def _size(policy: Policy, text: str, schema: Schema) -> str:
    size, limit = _model_bytes(text, schema), policy.limits.max_model_bytes
    return (
        f"a model of {size} bytes is more than limits.max_model_bytes ({limit})"
        if size > limit
        else ""
    )


@lru_cache(maxsize=4)
def _model_bytes(text: str, schema: Schema) -> int:
    """The size of an experiment's model, found without its values; 0 where that cannot be, as
    for a model of the owner's own that reads a file."""
    paradigm = _paradigm(text)
    try:
        with torch.device("meta"):
            return nbytes(paradigm.build(schema).state_dict())
    except BadInput:
        raise
    except Exception:  # noqa: BLE001  # Building it in earnest will tell.
        return 0


def _leaving(policy: Policy, kind: str, model: Tensors) -> str:
    if kind == SHOW:
        shows = policy.leave.subgraph != "none"
        return "" if shows else "no part of the graph leaves (leave.subgraph)"
    if kind == "evaluate":
        return "" if policy.leave.metrics_may else "metrics do not leave (leave.metrics)"
    unlisted = policy.leave.unlisted(model)
    if unlisted:
        return f"tensor {unlisted[0]} is not among leave.tensors"
    return ""
