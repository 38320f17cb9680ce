"""Simulate an experiment on this machine: the real server and client apps, a grid between them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy as FlowerStrategy

from ..class_counts import counted
from ..client.app import make_client_app
from ..client.workbench import build_client_side
from ..data import check_learnable, load_dataset, make_shards
from ..data.shard import Shard, ShardSource
from ..errors import BadInput
from ..experiment import check
from ..processes import return_freed_memory
from ..result import Result
from ..server.app import run_experiment
from ..server.observer import Observer
from ..server.record import RunFolder
from ..strategies.chain import Chain
from ..strategies.cohort import cohort_faults
from ..strategies.fitting import unmet
from ..strategies.strategy import ClientSide, Strategy
from ..training.threads import one_thread
from .attackers import AttackedGrid, attackers, build_attack, with_poison
from .attacks import ModelAttack
from .grid import InProcessGrid
from .memory import pack_reply
from .ray_engine import ray_grid, require_ray
from .workers import require_fork

if TYPE_CHECKING:
    from ..experiment import Experiment


def simulate(
    experiment: Experiment,
    *,
    out: str | Path | None = None,
    observer: Observer | None = None,
    strategy: FlowerStrategy | None = None,
    resume: str | Path | None = None,
) -> Result:
    """Run an experiment in this process, with `simulation.workers` processes beside it if > 1.

    Args:
        experiment: what to run.
        out: the run folder to make; `runs/<name>-<time>` if None.
        observer: told what happens as it happens.
        strategy: in place of the experiment's, for a strategy that is an object.
        resume: a run folder to go on with, from its last finished round, in place of `out`.

    Raises BadInput before anything is written where the experiment cannot run or another umbel
    is at work in the folder, UmbelError where a round fails for good.
    """
    try:
        return Result.open(_played(experiment, out, observer, strategy, resume))
    finally:
        # The clients' examples are some megabytes each, and in a process that simulates again
        # and again what glibc keeps of them would grow to gigabytes.
        return_freed_memory()


def _played(
    experiment: Experiment,
    out: str | Path | None,
    observer: Observer | None,
    strategy: FlowerStrategy | None,
    resume: str | Path | None,
) -> Path:
    """Run an experiment; its run folder."""
    _check_strategy(experiment, strategy)
    _check_engine(experiment)
    dataset = load_dataset(experiment.data.source, label=experiment.data.label)
    shards = make_shards(experiment, dataset)
    check_learnable(experiment, shards)
    held = with_poison(experiment, shards)
    side = strategy.client_side if isinstance(strategy, Strategy) else None
    place, former = (None if path is None else Path(path) for path in (out, resume))
    with RunFolder.held(experiment, "simulate", out=place, resume=former) as folder:
        folder.note_partition(counted(shards))
        clients = SimulatedClients(held, folder.path / "state", side)
        # One thread for the server too: its second one would only take a core from the workers.
        with one_thread(), _open_grid(experiment, clients) as grid:
            run_experiment(
                _attacked(grid, experiment, strategy),
                experiment,
                folder,
                observer=observer,
                strategy=strategy,
                dataset=dataset,
            )
    return folder.path


@dataclass(frozen=True)
class SimulatedClients:
    """Makes the app of all clients: node `index + 1` holds shard `index`.

    A shard is made when its client takes part, and what a client keeps lies in `state`, so
    that a client that does not take part costs nothing.
    """

    shards: ShardSource
    state: Path
    side: ClientSide | None = None

    def __call__(self) -> ClientApp:
        def open_shard(context: Context) -> Shard:
            return self.shards.shard(int(context.node_config["partition-id"]))

        return make_client_app(
            open_shard, state_folder=lambda _: self.state, side=self.side, pack=pack_reply
        )


def _check_strategy(experiment: Experiment, strategy: FlowerStrategy | None) -> None:
    """Raises BadInput where a name is unknown, or the strategy does not fit the experiment."""
    if strategy is None:
        check(experiment)
        return
    faults = unmet(strategy, experiment)
    own = experiment.data.server_has_examples
    faults += cohort_faults(strategy, experiment.data.clients, server_examples=own)
    if faults:
        raise BadInput([f"strategy: {fault}" for fault in faults])
    check(experiment, but="strategy")


def _check_engine(experiment: Experiment) -> None:
    """Raises BadInput where this system lacks what the experiment's engine needs."""
    if experiment.simulation.engine == "ray":
        require_ray()
    elif experiment.simulation.workers > 1:
        require_fork(experiment.simulation.workers)


def _attacked(grid: Grid, experiment: Experiment, strategy: FlowerStrategy | None) -> Grid:
    """The grid, with the experiment's attack in it where that is one on updates."""
    attack = build_attack(experiment)
    if not isinstance(attack, ModelAttack):
        return grid
    if strategy is None:
        chain = build_client_side(experiment, {}).chain
    else:
        chain = strategy.chain if isinstance(strategy, Strategy) else Chain()
    return AttackedGrid(grid, attack, attackers(experiment), chain, experiment.experiment.seed)


def _open_grid(experiment: Experiment, clients: SimulatedClients) -> AbstractContextManager[Grid]:
    if experiment.simulation.engine == "ray":
        return ray_grid(experiment, clients.state, clients.side)
    return InProcessGrid(clients, len(clients.shards), workers=experiment.simulation.workers)
