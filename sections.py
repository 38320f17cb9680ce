"""The sections of an experiment: what each may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]


class Table(BaseModel):
    """A table of an experiment file: no key but its own, and no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Named(Table):
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


class RunSection(Table):
    """`[experiment]`: its name, how many rounds, and the seed of everything random."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$")] = "experiment"
    rounds: Count = 10
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class DataSection(Table):
    """`[data]`: the examples, and how they are divided among the clients.

    `labelled` is the share of each shard that keeps its labels, `labelled_clients` that of the
    clients that keep any, `labels` how many are kept in all, by the clients or by the server
    (`labels_at`). `label` is a table's label column, `test` the source of a test set for the
    server, `auxiliary` that of examples which it gives to every client, `held_out` the share of
    each shard that its client keeps for evaluation. `server` are examples of the server's own: a
    source, or how many of its test set it takes, which are then not tested on.
    """

    source: Text = "digits"
    clients: Count = 10
    partition: Named = Named(name="iid")
    labelled: Share = 1.0
    labelled_clients: Annotated[float, Field(gt=0, le=1)] = 1.0
    labels: Count | None = None
    labels_at: Literal["clients", "server"] = "clients"
    label: str | None = None
    test: Text | None = None
    server: Text | Count | None = None
    auxiliary: Text | None = None
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.2

    @property
    def server_has_examples(self) -> bool:
        """Whether the server has examples of its own."""
        return self.server is not None or self.labels_at == "server"

    @model_validator(mode="after")
    def _one_way_to_hide(self) -> DataSection:
        if self.labels is not None and (self.labelled < 1 or self.labelled_clients < 1):
            raise ValueError("labels: in place of labelled and labelled_clients; leave those out")
        if self.labels_at == "server" and (self.labels is None or self.server is not None):
            raise ValueError('labels_at: "server" needs labels, and no data.server beside them')
        return self


class ModelSection(Named):
    """`[model]`, `[teacher]`: a name and parameters; `weights` is a file of trained ones."""

    weights: Text | None = None


class ClientSection(Table):
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


class ServerSection(Table):
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


class Stop(Table):
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


class EvaluationSection(Table):
    """`[evaluation]`: after every `every` rounds, by at most `clients` clients on what they held
    out (`federated`), and on the server's test set (`central`); `gain`, at the end, beside
    training alone (None: where the paradigm transfers); `confusion`, at the end, by counts of true
    and told classes; `embeddings`, at the end, of the server's test set, on a plane; `subgraphs`,
    at the end, by parts of the clients' graphs."""

    every: Count = 1
    federated: bool = True
    central: bool = True
    clients: Count = 100
    gain: bool | None = None
    confusion: bool = False
    embeddings: bool = False
    subgraphs: bool = False
    stop: Stop | None = None

    @model_validator(mode="after")
    def _stop_sees_a_metric(self) -> EvaluationSection:
        if self.stop is not None and not (self.federated or self.central):
            raise ValueError("stop needs federated or central evaluation; both are off")
        return self


class Attack(Named):
    """`simulation.attack`: an attack by its name, and how many `clients` are in it."""

    clients: Count = 1


class SimulationSection(Table):
    """`[simulation]`: the engine, and its worker processes; `attack` has some clients attack."""

    engine: Literal["in-process", "ray"] = "in-process"
    workers: Count = 1
    attack: Attack | None = None
