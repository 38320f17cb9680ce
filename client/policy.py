"""What a site's owner allows, as `umbel client --policy site.toml` reads it.

A policy only says what holds. `client.admission` turns away a message that asks for more,
`client.release` lets nothing else out, `client.departures` writes down what left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from .. import registry
from ..errors import BadInput
from ..faults import describe, read_toml
from ..sections import Count, Seconds, Text

KINDS = ("paradigm", "strategy", "model", "optimizer", "schedule")
"""The kinds of names that an experiment sends to a client."""

Patterns = list[Text]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Allow(_Section):
    """`[allow]`: the names that an experiment may use here, and the modules to import from.

    Names are patterns (`*` stands for anything). An import path (`"package.module:Name"`) must
    match them too, and its module must be one of `imports` or lie below one.
    """

    paradigms: Patterns = ["*"]
    strategies: Patterns = ["*"]
    models: Patterns = ["*"]
    optimizers: Patterns = ["*"]
    schedules: Patterns = ["*"]
    imports: Patterns = []

    @field_validator(*(registry.PLURALS[kind] for kind in KINDS))
    @classmethod
    def _names_are_known(cls, patterns: Patterns, info: ValidationInfo) -> Patterns:
        kind = next(kind for kind in KINDS if registry.PLURALS[kind] == info.field_name)
        known = registry.names(kind)
        for name in patterns:
            if not (set("*?[:") & set(name) or name in known):
                raise ValueError(f"{name!r} is unknown{registry.nearest(name, known)}")
        return patterns

    def of(self, kind: str) -> Patterns:
        """The patterns of a kind of names."""
        patterns: Patterns = getattr(self, registry.PLURALS[kind])
        return patterns


class Limits(_Section):
    """`[limits]`: how much an experiment may ask for; None is no limit.

    `min_examples` is the fewest examples that an update or an evaluation may be made of,
    `max_epochs`, `max_steps` and `max_seconds` bound one round's training,
    `max_message_bytes` what the server may send at once, `max_model_bytes` the model that it
    has made, and `max_state_bytes` what this client keeps on disk for all runs together.
    """

    min_examples: Count = 1
    max_epochs: Count | None = None
    max_steps: Count | None = None
    max_seconds: Seconds | None = None
    max_message_bytes: Count = 1_000_000_000
    max_model_bytes: Count = 4_000_000_000
    max_state_bytes: Count = 10_000_000_000


class Leave(_Section):
    """`[leave]`: what may leave.

    `tensors` are patterns of the model's tensors, `statistics` of what a paradigm or a
    strategy sends beside them. `metrics` are losses and scores, `sizes` the numbers of
    examples (`rounded` down to one digit, or `hidden`), `errors` the texts of exceptions,
    `peers` whether an experiment may have the server send updates on to other clients,
    `subgraph` whether a part of the site's graph is shown, with the classes of its nodes or not.
    `clip_norm` bounds the L2 norm of the difference between the update and the received
    model; Gaussian noise of `noise_multiplier` times that bound is added to every value.

    With noise, what carries none (statistics, metrics) stays, unless the file says otherwise.
    """

    tensors: Patterns = ["*"]
    statistics: Patterns | None = None
    metrics: bool | None = None
    sizes: Literal["exact", "rounded", "hidden"] = "exact"
    errors: bool = False
    peers: bool = True
    subgraph: Literal["none", "edges", "classes"] = "none"
    clip_norm: Positive | None = None
    noise_multiplier: Positive | None = None

    @model_validator(mode="after")
    def _noise_covers_a_bounded_update(self) -> Leave:
        if self.noise_multiplier is not None and self.clip_norm is None:
            raise ValueError("noise_multiplier: needs clip_norm, whose multiple it is")
        return self

    @model_validator(mode="after")
    def _a_subgraph_tells_sizes(self) -> Leave:
        if self.subgraph != "none" and self.sizes != "exact":
            raise ValueError('subgraph: tells how many nodes there are; needs sizes = "exact"')
        return self

    @property
    def metrics_may(self) -> bool:
        """Whether metrics leave."""
        return self.noise_multiplier is None if self.metrics is None else self.metrics

    def unlisted(self, names: Iterable[str]) -> list[str]:
        """Those of a model's tensors that may not leave."""
        return _unmatched(names, self.tensors)

    def unlisted_statistics(self, names: Iterable[str]) -> list[str]:
        """Those of the tensors beside a model's that may not leave."""
        patterns = self.statistics
        if patterns is None:
            patterns = ["*"] if self.noise_multiplier is None else []
        return _unmatched(names, patterns)

    def told_size(self, examples: int, least: int) -> int:
        """What is told in place of a number of examples.

        >>> [Leave(sizes=s).told_size(437, least=50) for s in ("exact", "rounded", "hidden")]
        [437, 400, 50]
        """
        if self.sizes == "hidden":
            return least
        power = 10 ** (len(str(examples)) - 1) if self.sizes == "rounded" else 1
        return examples // power * power


class Log(_Section):
    """`[log]`: the log of what left. `path` is its file, `departures.jsonl` in the state folder
    if not given; a file of `max_bytes` is put aside, and the last `keep` of those stay."""

    path: Text | None = None
    max_bytes: Annotated[int, Field(ge=10_000)] = 50_000_000
    keep: Annotated[int, Field(ge=1)] = 10


class Policy(_Section):
    """What a site's owner allows; the empty policy is that of a client without a file.

    >>> Policy().limits.min_examples
    1
    """

    allow: Allow = Allow()
    limits: Limits = Limits()
    leave: Leave = Leave()
    log: Log = Log()

    @model_validator(mode="after")
    def _a_subgraph_shows_single_nodes(self) -> Policy:
        if self.leave.subgraph != "none" and self.limits.min_examples > 1:
            raise ValueError(
                "leave.subgraph: shows nodes one by one; needs limits.min_examples = 1"
            )
        return self

    def with_imports(self, modules: Iterable[str]) -> Policy:
        """The same policy that allows more modules to be imported from.

        >>> Policy().with_imports(["ours"]).allow.imports
        ['ours']
        """
        imports = [*self.allow.imports, *modules]
        return self.model_copy(update={"allow": self.allow.model_copy(update={"imports": imports})})


def read_policy(path: Path) -> Policy:
    """A policy file; raises BadInput with one line a fault: file, key, what is valid."""
    content = read_toml(path, "a policy file")
    try:
        return Policy(**content)
    except ValidationError as error:
        raise BadInput([f"{path}: {fault}" for fault in describe(error, Policy)]) from None


def allowed(policy: Policy, names: Mapping[str, str]) -> str:
    """Why one of an experiment's names, by its kind, is not allowed; empty if all are.

    >>> allowed(Policy(allow=Allow(models=["mlp"])), {"model": "cnn"})
    'model cnn is not among allow.models (mlp)'
    """
    for kind, name in names.items():
        patterns = policy.allow.of(kind)
        if _unmatched([name], patterns):
            listed = ", ".join(patterns) or "none"
            return f"{kind} {name} is not among allow.{registry.PLURALS[kind]} ({listed})"
    return ""


def _unmatched(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    known = tuple(patterns)
    if "*" in known:
        return []
    return sorted(n for n in names if not any(fnmatchcase(n, pattern) for pattern in known))
