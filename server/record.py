"""The run folder: everything that a run leaves behind, and all that resuming it needs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..class_counts import FILE as PARTITION_FILE
from ..errors import BadInput
from ..experiment import Experiment
from ..processes import replacing
from ..result import EXPERIMENT_FILE, OVER, read_environment, run_status
from ..rounds import read_object, read_records
from ..tensors import Tensors, write_tensors
from ..wire import version_of
from .holding import LOCK, hold
from .ordering import SPOOL

KEPT = ("flower_run", "names", "boundary")
"""What environment.json goes on saying when the run is begun again."""

VERSIONS = ("flwr", "torch", "numpy", "safetensors", "pydantic", "scikit-learn")


@dataclass(frozen=True)
class RunFolder:
    """A run's files. `run` names the run for its clients, also after it was resumed;
    `created` says that this object made the folder's files, `fresh` that there were none before."""

    path: Path
    run: str
    runtime: str
    options: Mapping[str, Any]
    created: bool = False
    fresh: bool = False

    @classmethod
    @contextmanager
    def held(
        cls,
        experiment: Experiment,
        runtime: str,
        *,
        out: Path | None = None,
        resume: Path | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Iterator[RunFolder]:
        """The folder of a run that begins or goes on, held against every other process until
        the block ends.

        Args:
            experiment: what the run is of.
            runtime: as for `create`.
            out: the folder to make, or None for `runs/<name>-<time>`.
            resume: in place of `out`, a run folder to go on with.
            options: as for `create`.

        Raises BadInput where the folder will not do, or another umbel is at work on it.
        """
        if resume is not None:
            cls.open(resume)
            with hold(resume):
                yield cls.open(resume)
            return
        path = _new_place(experiment.experiment.name) if out is None else out
        _check_free(path)
        with hold(path):
            yield cls.create(path, experiment, runtime, options)

    @classmethod
    def create(
        cls,
        path: Path,
        experiment: Experiment,
        runtime: str,
        options: Mapping[str, Any] | None = None,
    ) -> RunFolder:
        """A new run folder; raises BadInput where `path` holds a run already.

        Args:
            path: the folder to make.
            experiment: written into it, resolved, as `experiment.toml`.
            runtime: `simulate`, `up` or `run`.
            options: what `umbel resume` must know to start the same runtime again.
        """
        _check_free(path)
        path.mkdir(parents=True, exist_ok=True)
        fresh = all(entry.name == LOCK for entry in path.iterdir())
        name = experiment.experiment.name
        run = f"{name}-{secrets.token_hex(4)}"
        folder = cls(path, run, runtime, dict(options or {}), created=True, fresh=fresh)
        write_text(path / "experiment.toml", experiment.to_toml())
        folder.write_environment({})
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """A run folder that is there; raises BadInput where it holds no run."""
        try:
            facts = json.loads((path / "environment.json").read_text())
            return cls(path, facts["run"], facts["runtime"], facts["options"])
        except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
            raise BadInput(f"{path}: not a run folder: it has no readable environment.json") from (
                error
            )

    @classmethod
    def unfinished(cls, path: Path | None, experiment: Experiment, runtime: str) -> Path | None:
        """The folder of the latest run of an experiment, if that run has not come to its end.

        Args:
            path: the only folder to look at, or None for all in `runs`.
            experiment: what the run was started with, to the last key.
            runtime: as for `create`.
        """
        folders = [file.parent for file in Path("runs").glob("*/environment.json")]
        text = experiment.to_toml()
        found: list[tuple[float, Path]] = []
        for folder in folders if path is None else [path]:
            file = folder / EXPERIMENT_FILE
            # Another run's folder may be a file, half-made, or not for us to read.
            with suppress(OSError, ValueError, BadInput):
                if file.read_text("utf-8") == text and cls.open(folder).runtime == runtime:
                    found.append((file.stat().st_mtime, folder))
        if not found:
            return None
        latest = max(found)[1]
        return None if run_status(latest, read_environment(latest)) in OVER else latest

    def option(self, name: str) -> object:
        """What the run was started with; raises BadInput where the folder does not say it."""
        if name not in self.options:
            raise BadInput(
                f"{self.path}/environment.json: does not say {name!r}, for another umbel wrote it; "
                "go on with that one, or begin the run anew from experiment.toml"
            )
        return self.options[name]

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def clusters(self) -> Path:
        return self.path / "clusters"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def flower_run(self) -> int | None:
        """The number that a SuperLink gave this run the last time, None if none has."""
        found = self._facts().get("flower_run")
        return found if isinstance(found, int) else None

    @property
    def names(self) -> frozenset[str]:
        """The clients that were here when the run was last begun; empty if it never was, or
        where they are too many to be listed."""
        return frozenset(self._facts().get("names") or ())

    def model_told_of(self, name: str) -> str:
        """The hash of the model that a file such as gain.json tells of; empty without one."""
        told = read_object(self.path / name)
        return str(told.get("model_sha256")) if told else ""

    def has_told(self, name: str) -> bool:
        """Whether such a file is there."""
        return read_object(self.path / name) is not None

    def write_told(self, name: str, told: Mapping[str, Any]) -> None:
        """Write such a file."""
        write_text(self.path / name, json.dumps(told, indent=1, allow_nan=False) + "\n")

    def note_partition(self, counts: Mapping[str, Any] | None) -> None:
        """Write down how the examples of each class lie over the clients, where that is known."""
        if counts is not None:
            self.write_told(PARTITION_FILE, counts)

    def write_environment(self, facts: Mapping[str, Any]) -> None:
        """Where and with what the run ran, and `facts` beside it."""
        former = self._facts()
        environment = {
            **{key: former[key] for key in KEPT if key in former},
            "run": self.run,
            "runtime": self.runtime,
            "options": dict(self.options),
            "umbel": version_of("umbel"),
            "versions": {name: version_of(name) for name in VERSIONS},
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "cores": os.cpu_count(),
            "command": sys.argv[0].rsplit("/", 1)[-1],
            **facts,
        }
        write_text(self.path / "environment.json", json.dumps(environment, indent=2) + "\n")

    def update_environment(self, facts: Mapping[str, Any]) -> None:
        """Add to what environment.json says already."""
        known = {**self._facts(), **facts}
        write_text(self.path / "environment.json", json.dumps(known, indent=2) + "\n")

    def _facts(self) -> dict[str, Any]:
        return read_environment(self.path)

    def discard(self) -> None:
        """Take back what `create` made for a run that was refused before round 1; a folder that
        was opened stays, for it may be resumed."""
        if not self.created or self.checkpoint.exists():
            return
        if self.fresh:
            shutil.rmtree(self.path, ignore_errors=True)
            return
        for name in ("experiment.toml", "environment.json", PARTITION_FILE):
            (self.path / name).unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a killed server left half-written, and replies that waited on disk."""
        for folder in (self.path, self.checkpoint, self.clusters):
            for left in folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)
        for spool in self.path.glob(f"{SPOOL}*"):
            shutil.rmtree(spool, ignore_errors=True)

    def add_round(self, record: Mapping[str, Any]) -> None:
        """Append one round to metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            file.flush()

    def last_round(self) -> int:
        """The last round that metrics.jsonl tells of; 0 before the first has ended."""
        return max((int(record["round"]) for record in read_records(self.metrics)), default=0)

    def rewind(self, round: int, last: Mapping[str, Any] | None) -> None:
        """Forget rounds after `round`: a resumed run does them again. `last` is the line of
        `round` as the checkpoint has it, for a server that died before it had written it."""
        kept = [record for record in read_records(self.metrics) if record["round"] <= round]
        if last is not None and (not kept or kept[-1]["round"] < round):
            kept.append(dict(last))
        write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))

    def write_model(self, tensors: Tensors) -> str:
        """Write model.safetensors; returns its sha256."""
        write_tensors(self.model, tensors)
        return hashlib.sha256(self.model.read_bytes()).hexdigest()

    def write_cluster(self, number: int, tensors: Tensors) -> None:
        """Write the model of one of several clusters of clients."""
        self.clusters.mkdir(exist_ok=True)
        write_tensors(self.clusters / f"{number}.safetensors", tensors)


def _new_place(name: str) -> Path:
    """A folder below `runs` that is nobody else's."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = Path("runs") / f"{name}-{stamp}"
    while True:
        try:
            path.mkdir(parents=True)
            return path
        except FileExistsError:
            path = path.with_name(f"{name}-{stamp}-{secrets.token_hex(2)}")
        except OSError as error:
            raise BadInput(f"{path}: cannot be made: {error.strerror}") from error


def _check_free(path: Path) -> None:
    """Raise BadInput where a path cannot become a run's folder."""
    if (path / "environment.json").exists():
        raise BadInput(f"{path}: holds a run already; name another folder, or umbel resume it")
    if path.exists() and not path.is_dir():
        raise BadInput(f"{path}: is a file; name a folder for the run")


def write_text(path: Path, text: str) -> None:
    """Write a text file under a temporary name, then rename it."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
