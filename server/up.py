"""`umbel up`: a real SuperLink and real client processes on this machine, for one run."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..class_counts import counted
from ..data import check_learnable, load_dataset, make_shards, write_shards
from ..data.shard import Dataset
from ..data.sharding import PartitionedShards
from ..errors import BadInput, LinkLost, UmbelError
from ..experiment import Experiment
from ..processes import write_private
from ..registry import is_import_path
from ..result import Result
from .app import check_networked, note_end, run_experiment
from .observer import Observer, Silent
from .record import RunFolder
from .submit import Link, submitted
from .superlink import SuperLink, check_port
from .supervisor import Places, Supervisor


def up(
    experiment: Experiment,
    *,
    out: Path | None = None,
    observer: Observer | None = None,
    stock_nodes: bool = False,
    port: int | None = None,
    resume: Path | None = None,
) -> Result:
    """Run an experiment over loopback: a SuperLink and `data.clients` client processes.

    Args:
        experiment: what to run.
        out: the run folder; it also holds the shards, the clients' state and all logs.
        observer: told what happens.
        stock_nodes: Flower's own SuperNodes as clients in place of umbel's warm nodes.
        port: the SuperLink's port, a free one if None.
        resume: a run folder of `up` to go on with, in place of `out`.

    Raises BadInput before anything is written where the data, the port or the folder will not
    do, or another umbel is at work in it. All processes are ended with the call, however it ends.
    """
    check_networked(experiment)
    if port is not None:
        check_port("127.0.0.1", port)
    dataset = load_dataset(experiment.data.source, label=experiment.data.label)
    shards = make_shards(experiment, dataset)
    watcher = observer or Silent()
    check_learnable(experiment, shards)
    options = {"stock_nodes": stock_nodes}
    with RunFolder.held(experiment, "up", out=out, resume=resume, options=options) as folder:
        folder.note_partition(counted(shards))
        network = _network(folder.path, experiment, shards, stock_nodes, port, watcher)
        return _play(experiment, network, folder, watcher, dataset)


def _play(
    experiment: Experiment,
    network: AbstractContextManager[_Network],
    folder: RunFolder,
    observer: Observer,
    dataset: Dataset,
) -> Result:
    try:
        with network as net, submitted(net.link, net.check) as grid:
            run_experiment(grid, experiment, folder, observer=observer, dataset=dataset)
    except BadInput:
        folder.discard()
        raise
    except LinkLost as lost:
        ended = UmbelError(f"{lost}; go on with umbel resume {folder.path}")
        note_end(folder, ended)
        raise ended from lost
    return Result.open(folder.path)


@dataclass(frozen=True)
class _Network:
    """A SuperLink that answers, with clients that are joining it."""

    superlink: SuperLink
    supervisor: Supervisor
    secret: bytes

    @property
    def link(self) -> Link:
        """How this process, and no other, may play a run there."""
        return Link(self.superlink.address, secret=self.secret)

    def check(self) -> None:
        """Raise UmbelError when the SuperLink, or every client, has ended."""
        self.superlink.check()
        self.supervisor.check()


@contextmanager
def _network(
    folder: Path,
    experiment: Experiment,
    shards: PartitionedShards,
    stock_nodes: bool,
    port: int | None,
    observer: Observer,
) -> Iterator[_Network]:
    """Start a SuperLink and, at the same time, the clients."""
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    secret = secrets.token_bytes(32)
    write_private(logs / "superlink.secret", secret)
    options = ("--superexec-auth-secret-file", str(logs / "superlink.secret"))
    with SuperLink(logs, port=port, options=options) as superlink:
        places = Places(folder, superlink.address, _imports(experiment))
        names = [shards.name(index) for index in range(len(shards))]
        supervisor = Supervisor(places, names, observer, stock=stock_nodes)
        with supervisor.watching():
            if not (folder / "shards").exists():
                write_shards(shards, folder / "shards")
            supervisor.begin()
            superlink.wait()
            yield _Network(superlink, supervisor, secret)


def _imports(experiment: Experiment) -> tuple[str, ...]:
    """The modules that the experiment names: its author owns these clients too."""
    choices = (
        experiment.model,
        experiment.paradigm,
        experiment.strategy,
        experiment.client.optimizer,
        experiment.client.schedule,
    )
    named = [c.name for c in choices] + list(_texts(experiment.strategy.parameters))
    return tuple(sorted({name.partition(":")[0] for name in named if is_import_path(name)}))


def _texts(value: object) -> Iterator[str]:
    """All texts in a strategy's parameters: other strategies may be named there."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)
