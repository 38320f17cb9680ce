"""What a finished run gives back: its metrics, its model, and where they lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .class_counts import ClassCounts, read_class_counts
from .confusion import Confusion, read_confusion
from .embeddings import Embeddings, read_embeddings
from .errors import BadInput, UmbelError
from .gain import WORDS, Gain, read_gain
from .rounds import SOURCES, Record, flatten, headline_metric, read_object, read_records
from .subgraphs import Subgraphs, read_subgraphs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

METRICS_FILE = "metrics.jsonl"
MODEL_FILE = "model.safetensors"
ENVIRONMENT_FILE = "environment.json"
EXPERIMENT_FILE = "experiment.toml"

OVER = ("finished", "stopped")
"""The statuses of a run that has come to its end: there is nothing to resume."""

Row = dict[str, float | int | None]


@dataclass(frozen=True)
class Result:
    """One run, read from the folder that it left behind.

    `status` is the run's own word for how it ended, `rounds` the number of its last round, and
    `records` holds metrics.jsonl as it is, one dict a round.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> line = '{"round": 1, "loss": 0.5, "metrics": {"central": {"accuracy": 0.9}}}'
    >>> _ = (folder / "metrics.jsonl").write_text(line)
    >>> result = Result.open(folder)
    >>> result.rounds, result.status, result.rows[0]["central_accuracy"]
    (1, 'unfinished', 0.9)
    """

    folder: Path
    status: str
    rounds: int
    records: tuple[Record, ...] = field(repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> Result:
        """Read a run folder, whether the run ended, goes on, or died.

        Raises BadInput where `folder` holds no run, UmbelError where metrics.jsonl is damaged
        before its last line.
        """
        folder = Path(folder)
        known = (METRICS_FILE, MODEL_FILE, EXPERIMENT_FILE, ENVIRONMENT_FILE)
        if not any((folder / name).is_file() for name in known):
            raise BadInput(f"{folder}: no run folder (it holds none of {', '.join(known)})")
        records = tuple(read_records(folder / METRICS_FILE))
        return cls(
            folder=folder,
            status=run_status(folder, read_environment(folder)),
            rounds=records[-1]["round"] if records else 0,
            records=records,
        )

    @cached_property
    def rows(self) -> list[Row]:
        """One dict a round with flat keys: round, loss, federated_accuracy, bytes_up, seconds..."""
        return [flatten(record) for record in self.records]

    @cached_property
    def metrics(self) -> Any:
        """One row a round, in the columns of `rows`: a pandas DataFrame, or `rows` without pandas.

        Bytes are what all clients of the round sent (`bytes_up`) and received (`bytes_down`).
        """
        try:
            import pandas
        except ImportError:
            return self.rows
        return pandas.DataFrame(self.rows)

    @cached_property
    def partition(self) -> ClassCounts | None:
        """How many examples of each class the clients hold, of more than 200 evenly spread ones;
        None where umbel did not divide the data, or they have no classes."""
        return read_class_counts(self.folder)

    @cached_property
    def gain(self) -> Gain | None:
        """What transfer gained each client, beside training alone and the model as the run began;
        None where the run did not ask, or has not come so far."""
        return read_gain(self.folder)

    @cached_property
    def confusion(self) -> Confusion | None:
        """Which classes the model takes for which, at each client; None where the run did not ask
        (`evaluation.confusion`), or has not come so far."""
        return read_confusion(self.folder)

    @cached_property
    def embeddings(self) -> Embeddings | None:
        """The server's test examples on a plane, by what the model's last layer is given of them;
        None where the run did not ask (`evaluation.embeddings`), or has not come so far."""
        return read_embeddings(self.folder)

    @cached_property
    def subgraphs(self) -> Subgraphs | None:
        """Parts of the clients' graphs, without features; None where the run did not ask
        (`evaluation.subgraphs`), or has not come so far."""
        return read_subgraphs(self.folder)

    @cached_property
    def model(self) -> dict[str, Tensor]:
        """The final model's state dict on the CPU, read when first asked for.

        Raises UmbelError where the run has not come so far as to write one, or it is damaged.
        """
        from .tensors import read_tensors

        try:
            tensors, _ = read_tensors(self._model_path())
        except ValueError as error:
            raise UmbelError(str(error)) from error
        return tensors

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of model.safetensors, as 64 hexadecimal digits; UmbelError where it is missing.

        Equal digests mean equal models, bit for bit.
        """
        with self._model_path().open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _model_path(self) -> Path:
        path = self.folder / MODEL_FILE
        if not path.is_file():
            raise UmbelError(
                f"{path}: not there, for the run has not finished; go on with: "
                f"umbel resume {self.folder}"
            )
        return path

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the evaluation metric and the loss by round; write the picture to `path`, if given.

        The kind of picture follows the suffix of `path` (.png, .svg, .pdf). Raises UmbelError
        without matplotlib.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise UmbelError("Result.plot needs matplotlib: pip install matplotlib") from error
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        metric = headline_metric(self.records)
        _draw(left, self.rows, metric, {s: f"{s}_{metric}" for s in SOURCES})
        _draw(right, self.rows, "loss", {"run": "loss", **{s: f"{s}_loss" for s in SOURCES}})
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure

    def to_json(self) -> str:
        """One line of JSON: run folder, status, rounds, the last round's metrics, model sha256, and
        the mean gains over `alone` and `untouched`.

        `model_sha256` is null where the run has left no model, `gain` where it did not ask.
        """
        gain = self.gain
        has_model = (self.folder / MODEL_FILE).is_file()
        return json.dumps(
            {
                "run": str(self.folder),
                "status": self.status,
                "rounds": self.rounds,
                "metrics": self.rows[-1] if self.rows else {},
                "model_sha256": self.sha256 if has_model else None,
                "gain": None if gain is None else {m: gain.mean(m) for m in WORDS},
            },
            allow_nan=False,
        )


def read_environment(folder: Path) -> dict[str, Any]:
    """The run's environment.json; empty where it is missing or cut short."""
    return read_object(folder / ENVIRONMENT_FILE) or {}


def run_status(folder: Path, environment: Mapping[str, Any]) -> str:
    """How a run ended: as its environment says, or else by whether it left a model."""
    status = environment.get("status")
    if isinstance(status, str):
        return status
    return "finished" if (folder / MODEL_FILE).is_file() else "unfinished"


def _draw(axes: Axes, rows: list[Row], label: str, columns: Mapping[str, str]) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, column in columns.items():
        points = [(row["round"], row[column]) for row in rows if row.get(column) is not None]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, marker="o" if len(points) < 30 else "", label=name)
    axes.set_xlabel("round")
    axes.set_ylabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
