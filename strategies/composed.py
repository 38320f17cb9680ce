"""A strategy put together in the experiment file, from the parts of named ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import registry
from ..errors import BadInput
from .chain import Chain, Clip, Link, Noise, Quantise
from .hyper import Share
from .local_parts import Local, parts_of, together
from .parts import Need
from .select import Choice, chosen
from .strategy import Strategy
from .telling import TellsGradientVariance, TellsLabelEntropy

TELLERS = (TellsGradientVariance, TellsLabelEntropy)
LINKS = {"clip": Clip, "noise": Noise, "quantise": Quantise}


def composed(
    *,
    local: Choice | list[Choice] | None = None,
    chain: Choice | list[Choice] | None = None,
    combine: Choice = "fedavg",
    step: Choice = "fedavg",
    extra: Choice | None = None,
    fraction: Share = 1.0,
    select: Choice = "fraction",
) -> Strategy:
    """Each part from another strategy: who trains, what clients add, how updates combine.

    Paper: none of its own; with nothing given it is FedAvg, McMahan et al. 2017,
    arXiv 1602.05629.

    A part is named by the strategy that it is taken from, with that one's parameters:
    `combine = { name = "fedavg", weighting = "uniform" }`.

    Args:
        local: whose local part, or those of several together.
        chain: `clip` (`norm`), `noise` (`sigma`), `quantise` (`bits`), one or several in order.
        combine: whose combining rule, and what its weighting has the clients tell.
        step: whose step.
        extra: whose rule combines what local parts send beside the updates.
        fraction: the share of the population in each round, in (0, 1].
        select: the rule that draws it.

    >>> composed(combine={"name": "fedavg", "weighting": "uniform"}, local="fedprox").local
    Proximal(mu=0.01)
    """
    combiner, stepper = _lender("combine", combine), _lender("step", step)
    additions = [_lender("local", choice) for choice in _several(local)]
    extras = None if extra is None else _lender("extra", extra)
    weighers = [combiner.local, *([] if extras is None else [extras.local])]
    needs: list[Need] = []
    for lender in (combiner, stepper, *additions):
        needs += [need for need in lender.needs if need not in needs]
    return Strategy(
        name="composed",
        select=chosen(select, fraction),
        local=together(*_tellers(weighers, additions)),
        chain=Chain(tuple(_link(choice) for choice in _several(chain))),
        combine=combiner.combine,
        step=stepper.step,
        extra=None if extras is None else extras.combine,
        needs=tuple(needs),
    )


def _lender(part: str, choice: Choice) -> Strategy:
    """The strategy that a part is taken from; raises ValueError, naming the part."""
    name, parameters = _split(part, choice)
    try:
        strategy = registry.build("strategy", name, parameters)
    except BadInput as error:
        raise ValueError(f"{part}: {error.faults[0]}") from error
    if not isinstance(strategy, Strategy):
        raise ValueError(  # noqa: TRY004
            f"{part}: {name} is not made of parts; only umbel's strategies are"
        )
    if strategy.clusters is not None:
        raise ValueError(f"{part}: {name} has a model for each cluster; it only goes whole")
    return strategy


def _tellers(weighers: Sequence[Local], additions: Sequence[Strategy]) -> list[Local]:
    """The local parts that were chosen, after those that the rules' weightings go by and that
    none of them brings."""
    chosen_parts = [part for one in additions for part in parts_of(one.local)]
    told: list[Local] = []
    for part in (part for local in weighers for part in parts_of(local)):
        if isinstance(part, TELLERS) and part not in [*chosen_parts, *told]:
            told.append(part)
    return [*told, *chosen_parts]


def _link(choice: Choice) -> Link:
    name, parameters = _split("chain", choice)
    if name not in LINKS:
        raise ValueError(f"chain: {name!r} is unknown{registry.nearest(name, list(LINKS))}")
    try:
        link: Link = LINKS[name](**parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"chain: {name}: {error}") from error
    return link


def _split(part: str, choice: Choice) -> tuple[str, dict[str, Any]]:
    table = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = table.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(  # noqa: TRY004
            f'{part}: the table has no name, as in {{ name = "fedavg", ... }}'
        )
    return name, table


def _several(choices: Choice | Sequence[Choice] | None) -> Sequence[Choice]:
    if choices is None:
        return ()
    return [choices] if isinstance(choices, str | Mapping) else choices
