"""The experiment: what to run, on what, how; checked before anything starts.

`umbel.load("exp.toml")` reads one from a file, `umbel.Experiment(...)` makes one in Python.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from .errors import BadInput

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Named(_Table):
    """A name and the parameters of what it names; in Python a plain string will do.

    >>> Named.model_validate({"name": "dirichlet", "alpha": 0.3}).parameters
    {'alpha': 0.3}
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: Annotated[str, Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything beside the name."""
        return dict(self.model_extra or {})


class RunSection(_Table):
    """`[experiment]`: its name, how many rounds, and the seed of everything random."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$")] = "experiment"
    rounds: Count = 10
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class DataSection(_Table):
    """`[data]`: the examples, and how they are divided among the clients.

    `labelled` is the share of each shard that keeps its labels, `label` a table's label column,
    `test` the source of a test set for the server, `auxiliary` that of examples which it gives to
    every client, `held_out` the share of each shard that its client keeps for evaluation. `server`
    are examples of its own: a source, or how many of its test set, which are then not tested on.
    """

    source: Text = "digits"
    clients: Count = 10
    partition: Named = Named(name="iid")
    labelled: Share = 1.0
    label: str | None = None
    test: Text | None = None
    server: Text | Count | None = None
    auxiliary: Text | None = None
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.2


class ModelSection(Named):
    """`[model]`, `[teacher]`: a name and parameters; `weights` is a file of trained ones."""

    weights: Text | None = None


class ClientSection(_Table):
    """`[client]`: a client's own training in one round.

    `steps` counts optimiser steps and takes the place of `epochs`; `batch_size` 0 is the whole
    shard; `clip_norm` bounds the norm of each gradient; `stragglers` is the share of clients that,
    drawn anew in each round, have time for a part of it only.
    """

    epochs: Count = 1
    steps: Count | None = None
    batch_size: Annotated[int, Field(ge=0)] = 32
    optimizer: Named = Named(name="sgd")
    schedule: Named = Named(name="constant")
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    stragglers: Share = 0.0

    @model_validator(mode="after")
    def _one_measure(self) -> ClientSection:
        if self.steps is not None and "epochs" in self.model_fields_set:
            raise ValueError("epochs and steps are both given; keep one")
        return self

    @model_serializer(mode="wrap")
    def _written_as_given(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        if self.steps is not None:
            written.pop("epochs", None)
        return written


class ServerSection(_Table):
    """`[server]`: what the server puts up with.

    `deadline` is each exchange's, in seconds; a round with fewer than `min_updates` good updates is
    repeated up to `retries` times; clients whose schema differs are `refuse`d with the run, or
    `leave-out`; `wait` bounds the wait for the clients, in seconds, at the start and before a round
    is repeated; `reconnect` bounds the wait for a SuperLink that went away in mid-run, in seconds
    (a week, unless it is given); `max_examples` is the most that a client may claim to hold.
    """

    deadline: Seconds = 600.0
    min_updates: Count = 1
    retries: Annotated[int, Field(ge=0)] = 2
    mismatched: Literal["refuse", "leave-out"] = "refuse"
    wait: Seconds = 60.0
    reconnect: Seconds = 604_800.0
    max_examples: Count = 10_000_000


class Stop(_Table):
    """`[evaluation.stop]`: end the run when `metric` reached `target`, or did not get better
    by more than `min_delta` for `patience` evaluations."""

    metric: Annotated[str, Field(min_length=1)] = "accuracy"
    patience: Count | None = None
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    target: float | None = None

    @model_validator(mode="after")
    def _ends(self) -> Stop:
        if self.patience is None and self.target is None:
            raise ValueError("neither patience nor target is given; nothing would end the run")
        return self


class EvaluationSection(_Table):
    """`[evaluation]`: after every `every` rounds, by at most `clients` clients on what they held
    out (`federated`), and on the server's test set (`central`); `gain`, at the end, beside
    training alone (None: where the paradigm transfers)."""

    every: Count = 1
    federated: bool = True
    central: bool = True
    clients: Count = 100
    gain: bool | None = None
    stop: Stop | None = None

    @model_validator(mode="after")
    def _stop_sees_a_metric(self) -> EvaluationSection:
        if self.stop is not None and not (self.federated or self.central):
            raise ValueError("stop needs federated or central evaluation; both are off")
        return self


class Attack(Named):
    """`simulation.attack`: an attack by its name, and how many `clients` are in it."""

    clients: Count = 1


class SimulationSection(_Table):
    """`[simulation]`: the engine, and its worker processes; `attack` has some clients attack."""

    engine: Literal["in-process", "ray"] = "in-process"
    workers: Count = 1
    attack: Attack | None = None


class Experiment(_Table):
    """One experiment, for every runtime.

    >>> Experiment(strategy="fedavg", data={"clients": 3}).data.clients
    3

    Raises BadInput with one line a fault.
    """

    experiment: RunSection = RunSection()
    data: DataSection = DataSection()
    model: ModelSection = ModelSection(name="mlp")
    teacher: ModelSection | None = None
    paradigm: Named = Named(name="supervised")
    strategy: Named = Named(name="fedavg")
    client: ClientSection = ClientSection()
    server: ServerSection = ServerSection()
    evaluation: EvaluationSection = EvaluationSection()
    simulation: SimulationSection = SimulationSection()

    def __init__(self, **sections: Any) -> None:
        try:
            super().__init__(**sections)
        except ValidationError as error:
            from .faults import describe

            raise BadInput(describe(error, Experiment)) from None

    @model_validator(mode="after")
    def _updates_come_from_clients(self) -> Experiment:
        if self.server.min_updates > self.data.clients:
            raise ValueError(
                f"server.min_updates {self.server.min_updates} is more than data.clients "
                f"{self.data.clients}"
            )
        return self

    @model_validator(mode="after")
    def _somebody_is_honest(self) -> Experiment:
        attack = self.simulation.attack
        if attack is not None and attack.clients >= self.data.clients:
            raise ValueError(
                f"simulation.attack.clients {attack.clients} is not less than data.clients "
                f"{self.data.clients}"
            )
        return self

    def to_json(self) -> str:
        """The experiment as JSON; `from_json` reads it back."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str) -> Experiment:
        """Read what `to_json` wrote; raises BadInput for anything else.

        >>> Experiment.from_json(Experiment().to_json()) == Experiment()
        True
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            from .faults import describe

            raise BadInput(describe(error, cls)) from None

    def to_toml(self) -> str:
        """The experiment as an experiment file, with every default written out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def with_clients(self, clients: int) -> Experiment:
        """The same experiment with another number of clients; raises BadInput if it cannot be.

        >>> Experiment().with_clients(3).data.clients
        3
        """
        sections = self.model_dump(exclude_unset=True)
        sections["data"] = {**sections.get("data", {}), "clients": clients}
        return Experiment(**sections)


def load(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file.

    Args:
        path: a TOML file; relative data paths in it are seen from its folder.
        overrides: `section.key=value` each, over what the file says; a value is TOML, or
            else text.

    Raises BadInput with one line a fault: file, key, what was found, what is valid.
    """
    from .faults import read

    return read(Path(path), overrides)


def experiment_file(name: str) -> Path:
    """The experiment file that a Flower run's configuration names: in this folder, or in the
    app's bundle, whose folder Flower puts on Python's path."""
    for folder in ("", *sys.path):
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    return Path(name)


def check(experiment: Experiment) -> None:
    """Raise BadInput unless every name in the experiment is known and its parameters fit."""
    from .faults import unknown_names

    faults = unknown_names(experiment)
    if faults:
        raise BadInput(faults)
