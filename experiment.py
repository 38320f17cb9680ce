"""The experiment: what to run, on what, how; checked before anything starts.

`umbel.load("exp.toml")` reads one from a file, `umbel.Experiment(...)` makes one in Python.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError, model_validator

from .errors import BadInput
from .sections import (
    ClientSection,
    DataSection,
    EvaluationSection,
    ModelSection,
    Named,
    RunSection,
    ServerSection,
    SimulationSection,
    Table,
)


class Experiment(Table):
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
    def _finite(self) -> Experiment:
        """TOML has inf and nan; the JSON in which clients are told of an experiment has neither."""
        for key, value in _numbers(self.model_dump(), ""):
            if not math.isfinite(value):
                raise ValueError(f"{key}: must be a finite number, found {value}")
        return self

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


def _numbers(value: Any, key: str) -> Iterator[tuple[str, float]]:
    """The floats in a section's values, tables and lists in it, with their keys."""
    if isinstance(value, float):
        yield key, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _numbers(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _numbers(inner, key)


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


def check(experiment: Experiment, *, but: str = "") -> None:
    """Raise BadInput unless every name in the experiment is known and its parameters fit; all `but`
    a key's, such as "strategy", where an object stands in its place."""
    from .faults import unknown_names

    faults = unknown_names(experiment, but=but)
    if faults:
        raise BadInput(faults)
